//! The manifest: which segments count, what of them is gone, and how far the topic was read for it. Written whole; pure.

use super::hash::Seed;
use super::segment::take_list;
use crate::position::{Anchor, Position};
use bytes::{Buf, BufMut};
use roaring::RoaringBitmap;
use rtf_proto::TopicId;

const MAGIC: &[u8; 8] = b"RTFPRIM1";
const CRC_BYTES: usize = 4;

/// What a store was made of: another topic, or other settings, make another store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Identity {
    pub topic: TopicId,
    /// What of the settings decides what lies in it, as text.
    pub settings: String,
}

/// A segment that counts.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Listed {
    pub number: u64,
    /// Numbers of its events that were gone at these positions.
    pub gone: RoaringBitmap,
}

/// All of it.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Manifest {
    pub identity: Identity,
    pub seed: Seed,
    /// How far each partition was read.
    pub positions: Vec<Position>,
    pub segments: Vec<Listed>,
}

impl Manifest {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.put_slice(&self.identity.topic.0);
        out.put_u32_le(self.identity.settings.len() as u32);
        out.put_slice(self.identity.settings.as_bytes());
        out.put_slice(&self.seed.0);
        out.put_u32_le(self.positions.len() as u32);
        for Position { next, last } in &self.positions {
            out.put_u64_le(*next);
            out.put_u8(last.is_some().into());
            out.put_u64_le(last.map_or(0, |last| last.offset));
            out.put_u32_le(last.map_or(0, |last| last.crc));
        }
        out.put_u32_le(self.segments.len() as u32);
        for segment in &self.segments {
            out.put_u64_le(segment.number);
            out.put_u32_le(segment.gone.serialized_size() as u32);
            segment
                .gone
                .serialize_into(&mut out)
                .expect("memory takes what is written");
        }
        let crc = crc32fast::hash(&out);
        out.put_u32_le(crc);
        out
    }

    /// `None` when it is not one.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (content, crc) = bytes.split_at_checked(bytes.len().checked_sub(CRC_BYTES)?)?;
        if crc32fast::hash(content).to_le_bytes() != crc {
            return None;
        }
        let bytes = &mut content.strip_prefix(MAGIC)?;
        let topic = TopicId(take_array(bytes)?);
        let length = bytes.try_get_u32_le().ok()? as usize;
        let settings = String::from_utf8(take(bytes, length)?.to_vec()).ok()?;
        let seed = Seed(take_array(bytes)?);
        let positions = take_list(bytes, take_position)?;
        let segments = take_list(bytes, |bytes| {
            let number = bytes.try_get_u64_le().ok()?;
            let length = bytes.try_get_u32_le().ok()? as usize;
            let gone = RoaringBitmap::deserialize_from(take(bytes, length)?).ok()?;
            Some(Listed { number, gone })
        })?;
        bytes.is_empty().then_some(Self {
            identity: Identity { topic, settings },
            seed,
            positions,
            segments,
        })
    }
}

fn take_position(bytes: &mut &[u8]) -> Option<Position> {
    let next = bytes.try_get_u64_le().ok()?;
    let has_last = bytes.try_get_u8().ok()? != 0;
    let last = Anchor {
        offset: bytes.try_get_u64_le().ok()?,
        crc: bytes.try_get_u32_le().ok()?,
    };
    Some(Position {
        next,
        last: has_last.then_some(last),
    })
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

fn take_array<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    take(bytes, N)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rtf_fuzz::fuzz;

    fn manifest() -> Manifest {
        Manifest {
            identity: Identity {
                topic: TopicId([7; 16]),
                settings: "id /id".into(),
            },
            seed: Seed([9; 16]),
            positions: vec![
                Position::default(),
                Position {
                    next: 1 << 40,
                    last: Some(Anchor { offset: 7, crc: 8 }),
                },
            ],
            segments: vec![Listed {
                number: 5,
                gone: (0..1000).step_by(3).collect(),
            }],
        }
    }

    #[test]
    fn comes_back_as_it_was() {
        assert_eq!(Manifest::decode(&manifest().encode()), Some(manifest()));
        assert_eq!(Manifest::decode(b""), None);
    }

    /// Damage whose checksum is right all the same: what is read is written so that it is read the same.
    #[test]
    fn fuzz_manifests() {
        let whole = manifest().encode();
        fuzz("manifest", &[&whole[..whole.len() - CRC_BYTES]], |input| {
            let mut bytes = input.to_vec();
            bytes.put_u32_le(crc32fast::hash(input));
            if let Some(manifest) = Manifest::decode(&bytes) {
                assert_eq!(Manifest::decode(&manifest.encode()), Some(manifest));
            }
        });
    }

    proptest! {
        #[test]
        fn any_flipped_or_missing_byte_is_noticed(at: prop::sample::Index, flip in 1u8.., cut: bool) {
            let mut bytes = manifest().encode();
            let at = at.index(bytes.len());
            match cut {
                true => bytes.truncate(at),
                false => bytes[at] ^= flip,
            }
            prop_assert_eq!(Manifest::decode(&bytes), None);
        }
    }
}
