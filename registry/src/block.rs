//! A block: up to 64 remembered ids in log order, as they lie on disk. Knows no sled.

use crate::apply::Winner;
use bytes::{Buf, BufMut};
use rtf_proto::{Outcome, Token};
use rtf_service::mutant;

/// Ids in a full block.
pub const BLOCK_IDS: usize = 64;

/// One remembered id.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// The id.
    pub id: Box<[u8]>,
    /// Who decided it.
    pub winner: Winner,
}

/// A block's bytes are not a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a block of ids is damaged")]
pub struct DamagedBlock;

const CRC_BYTES: usize = 4;

/// CRC-32, count, then per entry: id length, id, offset, token, outcome.
pub fn encode(entries: &[Entry]) -> Vec<u8> {
    assert!(
        entries.len() <= BLOCK_IDS,
        "a block holds at most {BLOCK_IDS} ids"
    );
    let ids: usize = entries.iter().map(|entry| entry.id.len() + 20).sum();
    let mut out = Vec::with_capacity(CRC_BYTES + 1 + ids);
    out.put_u32_le(0);
    out.put_u8(entries.len() as u8);
    for entry in entries {
        out.put_u16_le(u16::try_from(entry.id.len()).expect("ids are at most 1 KiB"));
        out.put_slice(&entry.id);
        out.put_u64_le(entry.winner.offset);
        out.put_u64_le(entry.winner.token.unwrap_or_default().0);
        out.put_u16_le(entry.winner.outcome.code());
    }
    let crc = crc32fast::hash(&out[CRC_BYTES..]);
    out[..CRC_BYTES].copy_from_slice(&crc.to_le_bytes());
    out
}

/// Reads a whole block.
///
/// # Errors
/// [`DamagedBlock`] for anything [`encode`] has not written.
pub fn decode(bytes: &[u8]) -> Result<Vec<Entry>, DamagedBlock> {
    let mut entries = Vec::with_capacity(BLOCK_IDS);
    visit(bytes, |id, winner| {
        entries.push(Entry {
            id: id.into(),
            winner,
        });
        true
    })?;
    Ok(entries)
}

/// Calls `each` for every entry in order until it says `false`; checks the whole block first.
///
/// # Errors
/// As [`decode`].
pub fn visit(
    mut bytes: &[u8],
    mut each: impl FnMut(&[u8], Winner) -> bool,
) -> Result<(), DamagedBlock> {
    let crc = bytes.try_get_u32_le().map_err(|_| DamagedBlock)?;
    if crc32fast::hash(bytes) != crc && !mutant::is("block-sum-not-compared") {
        return Err(DamagedBlock);
    }
    let count = bytes.try_get_u8().map_err(|_| DamagedBlock)?;
    for _ in 0..count {
        let length = usize::from(bytes.try_get_u16_le().map_err(|_| DamagedBlock)?);
        let (id, rest) = bytes.split_at_checked(length).ok_or(DamagedBlock)?;
        bytes = rest;
        let winner = Winner {
            offset: bytes.try_get_u64_le().map_err(|_| DamagedBlock)?,
            token: Some(Token(bytes.try_get_u64_le().map_err(|_| DamagedBlock)?)),
            outcome: bytes
                .try_get_u16_le()
                .ok()
                .and_then(Outcome::from_code)
                .ok_or(DamagedBlock)?,
        };
        if !each(id, winner) {
            return Ok(());
        }
    }
    if bytes.is_empty() {
        Ok(())
    } else {
        Err(DamagedBlock)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry() -> impl Strategy<Value = Entry> {
        (
            prop::collection::vec(any::<u8>(), 1..40),
            any::<u64>(),
            any::<u64>(),
        )
            .prop_map(|(id, offset, token)| Entry {
                id: id.into(),
                winner: Winner {
                    offset,
                    token: Some(Token(token)),
                    outcome: Outcome::Joined,
                },
            })
    }

    proptest! {
        #[test]
        fn blocks_come_back(entries in prop::collection::vec(entry(), 0..=BLOCK_IDS)) {
            prop_assert_eq!(decode(&encode(&entries)), Ok(entries));
        }

        #[test]
        fn damage_is_noticed(entries in prop::collection::vec(entry(), 1..10), at: prop::sample::Index, bit in 0u8..8) {
            let mut bytes = encode(&entries);
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert_eq!(decode(&bytes), Err(DamagedBlock));
            bytes[at] ^= 1 << bit;
            prop_assert_eq!(decode(&bytes[..at]), Err(DamagedBlock));
        }
    }
}
