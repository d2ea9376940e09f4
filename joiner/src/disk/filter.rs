//! Which hashes a segment may hold: a binary-fuse filter (Graf and Lemire, 2022), 9 bits a hash; of 256 absent ones it lets one through.

use bytes::{Buf, BufMut};
use xorf::{BinaryFuse8, Filter as _};

/// A filter; without one nothing is there.
pub(crate) struct Filter(Option<BinaryFuse8>);

impl Filter {
    /// Of these hashes, in any order. `None` when it could not be built.
    pub fn of(mut hashes: Vec<u64>) -> Option<Self> {
        hashes.sort_unstable();
        // Several events have one key; the filter cannot be built with it twice.
        hashes.dedup();
        if hashes.is_empty() {
            return Some(Self(None));
        }
        BinaryFuse8::try_from(&hashes)
            .ok()
            .map(|filter| Self(Some(filter)))
    }

    pub fn may_hold(&self, hash: u64) -> bool {
        self.0.as_ref().is_some_and(|filter| filter.contains(&hash))
    }

    pub fn memory_bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |filter| filter.len())
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        let Some(filter) = &self.0 else {
            return out.put_u32_le(0);
        };
        out.put_u32_le(filter.fingerprints.len() as u32);
        out.put_u64_le(filter.descriptor.seed);
        out.put_u32_le(filter.descriptor.segment_length);
        out.put_u32_le(filter.descriptor.segment_length_mask);
        out.put_u32_le(filter.descriptor.segment_count_length);
        out.put_slice(&filter.fingerprints);
    }

    pub fn take(bytes: &mut &[u8]) -> Option<Self> {
        let count = bytes.try_get_u32_le().ok()? as usize;
        if count == 0 {
            return Some(Self(None));
        }
        // The descriptor's type has no public name: a filter of one hash is made and filled in.
        let mut filter = BinaryFuse8::try_from([0].as_slice()).ok()?;
        filter.descriptor.seed = bytes.try_get_u64_le().ok()?;
        filter.descriptor.segment_length = bytes.try_get_u32_le().ok()?;
        filter.descriptor.segment_length_mask = bytes.try_get_u32_le().ok()?;
        filter.descriptor.segment_count_length = bytes.try_get_u32_le().ok()?;
        let (prints, rest) = bytes.split_at_checked(count)?;
        *bytes = rest;
        filter.fingerprints = prints.into();
        Some(Self(Some(filter)))
    }
}
