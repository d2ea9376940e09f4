//! The offsets of a partition's events that did not win, in a file that only grows.
//!
//! ```text
//! chunk   count u32, that many offsets u64, CRC-32 of both; one per commit
//! ```
//!
//! A chunk that was torn off by a crash is cut away: its records are applied again. What the partition's state counts must be there, else the view is made anew.

use crate::store::StoreError;
use bytes::{Buf, BufMut};
use roaring::RoaringTreemap;
use rtf_proto::Offset;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// Adds a chunk.
///
/// # Errors
/// The file system could not.
pub fn append(path: &Path, offsets: &[Offset]) -> Result<(), StoreError> {
    if offsets.is_empty() {
        return Ok(());
    }
    let mut chunk = Vec::with_capacity(8 + offsets.len() * 8);
    chunk.put_u32_le(u32::try_from(offsets.len()).expect("a commit has a few thousand at most"));
    offsets.iter().for_each(|offset| chunk.put_u64_le(*offset));
    let crc = crc32fast::hash(&chunk);
    chunk.put_u32_le(crc);
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    Ok(file.write_all(&chunk)?)
}

/// Reads all that is whole, and cuts away the rest. `None` when that is fewer than `at_least`.
///
/// # Errors
/// The file system could not.
pub fn load(path: &Path, at_least: u64) -> Result<Option<RoaringTreemap>, StoreError> {
    let mut offsets = RoaringTreemap::new();
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let mut rest = bytes.as_slice();
    while let Some(chunk) = take(&mut rest) {
        offsets.extend(chunk);
    }
    if offsets.len() < at_least {
        return Ok(None);
    }
    if !rest.is_empty() {
        let whole = bytes.len() - rest.len();
        let file = OpenOptions::new().write(true).open(path)?;
        file.set_len(whole as u64)?;
    }
    Ok(Some(offsets))
}

/// Puts it onto the disk itself.
///
/// # Errors
/// The disk could not.
pub fn sync(path: &Path) -> Result<(), StoreError> {
    match File::open(path) {
        Ok(file) => Ok(file.sync_data()?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The chunk at the front, if it is whole.
fn take(bytes: &mut &[u8]) -> Option<Vec<Offset>> {
    let mut rest = *bytes;
    let count = rest.try_get_u32_le().ok()? as usize;
    let (mut offsets, after) = rest.split_at_checked(count.checked_mul(8)?)?;
    let covered = bytes.len() - after.len();
    let mut crc = after;
    if crc.try_get_u32_le().ok()? != crc32fast::hash(&bytes[..covered]) {
        return None;
    }
    *bytes = crc;
    Some((0..count).map(|_| offsets.get_u64_le()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever is cut off or flipped: what is read was written, and that something is missing is noticed.
        #[test]
        fn damage_is_noticed(chunks in prop::collection::vec(prop::collection::vec(0u64..5000, 1..9), 1..6), at: prop::sample::Index, flip: Option<u8>) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("rejected-0");
            let mut all = RoaringTreemap::new();
            for chunk in &chunks {
                append(&path, chunk).unwrap();
                all.extend(chunk);
            }
            sync(&path).unwrap();
            prop_assert_eq!(load(&path, all.len()).unwrap(), Some(all.clone()));
            let mut bytes = fs::read(&path).unwrap();
            let at = at.index(bytes.len());
            match flip {
                Some(bit) => bytes[at] ^= 1 << (bit % 8),
                None => bytes.truncate(at),
            }
            fs::write(&path, &bytes).unwrap();
            let found = load(&path, 0).unwrap().unwrap();
            prop_assert!(found.is_subset(&all));
            prop_assert_eq!(load(&path, found.len() + 1).unwrap(), None);
            // What was cut away does not come back, and new chunks are found behind what is whole.
            append(&path, &[9999]).unwrap();
            prop_assert_eq!(load(&path, 0).unwrap().unwrap().len(), found.len() + 1);
        }
    }

    #[test]
    fn nothing_was_rejected() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rejected-0");
        append(&path, &[]).unwrap();
        sync(&path).unwrap();
        assert_eq!(load(&path, 0).unwrap(), Some(RoaringTreemap::new()));
        assert_eq!(load(&path, 1).unwrap(), None);
    }
}
