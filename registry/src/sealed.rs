//! A bucket that does not grow any more: rewritten once, in hash order, with a filter beside it.
//!
//! ```text
//! <dir>/blocks   up to 128 ids in hash order each, partition by partition
//! <dir>/index    per partition: a binary-fuse filter, each block's first hash and where it begins; lives in memory; written last
//! ```
//!
//! Memory holds about 2.5 bytes an id: 18 bits of filter (Graf and Lemire, *Binary Fuse Filters*, 2022) and 16 bytes a block. An absent id is answered
//! by the filter, but for one in 65,536; a present one reads one block. Tokens are not kept: a chain of attempts is over
//! before, or hears that its event is resolved instead of that it resolved it.
//! Why plain files: docs/adr/0007.

use crate::block::DamagedBlock;
use crate::fnv::fnv1a;
use crate::store::StoreError;
use bytes::{Buf, BufMut};
use rtf_proto::{Offset, Outcome, PartitionId};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use xorf::{BinaryFuse16, Filter};

/// Ids in a block.
const BLOCK_IDS: usize = 128;
const MAGIC: &[u8; 8] = b"RTFSEAL1";
const HEADER_BYTES: usize = 12;
const CRC_BYTES: usize = 4;
const INDEX: &str = "index";
const BLOCKS: &str = "blocks";

/// One id on its way into a sealed bucket.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SealedEntry {
    /// The id.
    pub id: Box<[u8]>,
    /// Its winner's offset.
    pub offset: Offset,
    /// How the event ended.
    pub outcome: Outcome,
}

/// The hash that filters and order go by: FNV-1a, finished as in MurmurHash3. It lies on disk, so it is fixed for ever.
pub fn hash_of(id: &[u8]) -> u64 {
    let mut hash = fnv1a(id);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

/// What memory holds of one partition.
struct Part {
    ids: u64,
    filter: Option<BinaryFuse16>,
    /// Each block's first hash, ascending.
    fences: Vec<u64>,
    /// Where each block begins in the file, and where the last one ends.
    starts: Vec<u64>,
}

/// Writes a sealed bucket; nothing of it counts until [`finish`](Self::finish).
pub struct Sealer {
    dir: PathBuf,
    blocks: BufWriter<File>,
    written: u64,
    parts: BTreeMap<PartitionId, Part>,
}

impl Sealer {
    /// Begins in an empty or missing directory.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn create(dir: &Path) -> Result<Self, StoreError> {
        fs::create_dir_all(dir)?;
        Ok(Self {
            dir: dir.into(),
            blocks: BufWriter::new(File::create(dir.join(BLOCKS))?),
            written: 0,
            parts: BTreeMap::new(),
        })
    }

    /// Adds all ids of a partition, in any order.
    ///
    /// # Errors
    /// The disk could not.
    pub fn partition(
        &mut self,
        partition: PartitionId,
        entries: Vec<SealedEntry>,
    ) -> Result<(), StoreError> {
        let mut sorted: Vec<(u64, SealedEntry)> =
            entries.into_iter().map(|e| (hash_of(&e.id), e)).collect();
        sorted.sort_unstable_by(|a, b| (a.0, &a.1.id).cmp(&(b.0, &b.1.id)));
        let (mut fences, mut starts) = (Vec::new(), vec![self.written]);
        for block in sorted.chunks(BLOCK_IDS) {
            let bytes = encode(block);
            self.blocks.write_all(&bytes)?;
            self.written += bytes.len() as u64;
            fences.push(block[0].0);
            starts.push(self.written);
        }
        let mut hashes: Vec<u64> = sorted.iter().map(|(hash, _)| *hash).collect();
        // Two ids may share a hash; the filter cannot be built with it twice.
        hashes.dedup();
        let part = Part {
            ids: sorted.len() as u64,
            filter: filter_of(&hashes)?,
            fences,
            starts,
        };
        self.parts.insert(partition, part);
        Ok(())
    }

    /// Makes it count.
    ///
    /// # Errors
    /// The disk could not.
    pub fn finish(self) -> Result<(), StoreError> {
        whole(self.blocks)?.sync_all()?;
        let partial = self.dir.join("index.partial");
        let mut file = BufWriter::new(File::create(&partial)?);
        file.write_all(&header(self.parts.len()))?;
        for (partition, part) in &self.parts {
            file.write_all(&part.encode(*partition))?;
        }
        whole(file)?.sync_all()?;
        fs::rename(&partial, self.dir.join(INDEX))?;
        Ok(File::open(&self.dir)?.sync_all()?)
    }
}

fn whole(file: BufWriter<File>) -> io::Result<File> {
    file.into_inner().map_err(io::IntoInnerError::into_error)
}

fn filter_of(hashes: &[u64]) -> Result<Option<BinaryFuse16>, StoreError> {
    if hashes.is_empty() {
        return Ok(None);
    }
    let filter = BinaryFuse16::try_from(hashes);
    filter
        .map(Some)
        .map_err(|words| StoreError::Unusable(format!("a filter could not be built: {words}")))
}

/// A sealed bucket; cheap to clone.
#[derive(Clone)]
pub struct Sealed(Arc<Inner>);

struct Inner {
    blocks: File,
    bytes: u64,
    /// By partition; a look-up asks every bucket, so it shall find its filter at once.
    parts: Vec<Option<Part>>,
}

impl Sealed {
    /// Whether the directory was [finished](Sealer::finish).
    pub fn is_finished(dir: &Path) -> bool {
        dir.join(INDEX).exists()
    }

    /// Reads filters and fences into memory.
    ///
    /// # Errors
    /// The directory was not finished, or is damaged.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let damaged = || StoreError::Unusable(format!("{} is damaged", dir.display()));
        let bytes = fs::read(dir.join(INDEX))?;
        let (head, mut rest) = bytes.split_at_checked(HEADER_BYTES).ok_or_else(damaged)?;
        let (mut parts, mut count) = (Vec::new(), 0);
        while !rest.is_empty() {
            let (partition, part) = Part::take(&mut rest).ok_or_else(damaged)?;
            let at = partition as usize;
            parts.resize_with(parts.len().max(at + 1), || None);
            parts[at] = Some(part);
            count += 1;
        }
        if head != header(count) {
            return Err(damaged());
        }
        let blocks = File::open(dir.join(BLOCKS))?;
        let length = blocks.metadata()?.len();
        if parts
            .iter()
            .flatten()
            .any(|part: &Part| part.end() > length)
        {
            return Err(damaged());
        }
        Ok(Self(Arc::new(Inner {
            blocks,
            bytes: length + bytes.len() as u64,
            parts,
        })))
    }

    /// Ids of a partition.
    pub fn ids(&self, partition: PartitionId) -> u64 {
        self.part(partition).map_or(0, |part| part.ids)
    }

    /// Bytes of filters and fences.
    pub fn memory_bytes(&self) -> usize {
        let filter = |part: &Part| part.filter.as_ref().map_or(0, Filter::len) * 2;
        let bytes = |part: &Part| (part.fences.len() + part.starts.len()) * 8 + filter(part);
        self.0.parts.iter().flatten().map(bytes).sum()
    }

    /// Bytes on disk.
    pub fn disk_bytes(&self) -> u64 {
        self.0.bytes
    }

    /// Whether the id with this hash is certainly not there; never touches the disk.
    pub fn is_absent(&self, partition: PartitionId, hash: u64) -> bool {
        let filter = self.part(partition).and_then(|part| part.filter.as_ref());
        filter.is_none_or(|filter| !filter.contains(&hash))
    }

    fn part(&self, partition: PartitionId) -> Option<&Part> {
        self.0.parts.get(partition as usize)?.as_ref()
    }

    /// An id's winner.
    ///
    /// # Errors
    /// A block that is damaged or missing.
    pub fn find(
        &self,
        partition: PartitionId,
        hash: u64,
        id: &[u8],
    ) -> Result<Option<(Offset, Outcome)>, StoreError> {
        let Some(part) = self.part(partition) else {
            return Ok(None);
        };
        if self.is_absent(partition, hash) {
            return Ok(None);
        }
        let fences = &part.fences;
        // The first block that may hold the hash, and those after it that begin with it.
        let first = fences
            .partition_point(|fence| *fence < hash)
            .saturating_sub(1);
        let candidates = (first..).zip(&fences[first..]);
        for (number, _) in candidates.take_while(|(_, fence)| **fence <= hash) {
            let (begin, end) = (part.starts[number], part.starts[number + 1]);
            let mut block = vec![0; (end - begin) as usize];
            self.0.blocks.read_exact_at(&mut block, begin)?;
            if let Some(found) = search(&block, id)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

/// What the index begins with: whether it is one, and of how many partitions.
fn header(parts: usize) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(MAGIC);
    header[8..].copy_from_slice(&(parts as u32).to_le_bytes());
    header
}

impl Part {
    fn end(&self) -> u64 {
        self.starts.last().copied().unwrap_or_default()
    }

    /// Partition, length, content, CRC.
    fn encode(&self, partition: PartitionId) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_u32_le(partition);
        out.put_u64_le(self.ids);
        out.put_u32_le(self.fences.len() as u32);
        let numbers = self.fences.iter().chain(&self.starts);
        numbers.for_each(|number| out.put_u64_le(*number));
        let none: &[u16] = &[];
        let fingerprints = self
            .filter
            .as_ref()
            .map_or(none, |filter| &filter.fingerprints);
        out.put_u32_le(fingerprints.len() as u32);
        if let Some(filter) = &self.filter {
            out.put_u64_le(filter.descriptor.seed);
            out.put_u32_le(filter.descriptor.segment_length);
            out.put_u32_le(filter.descriptor.segment_length_mask);
            out.put_u32_le(filter.descriptor.segment_count_length);
            fingerprints.iter().for_each(|print| out.put_u16_le(*print));
        }
        let crc = crc32fast::hash(&out);
        out.put_u32_le(crc);
        out
    }

    fn take(bytes: &mut &[u8]) -> Option<(PartitionId, Self)> {
        let whole = *bytes;
        let partition = bytes.try_get_u32_le().ok()?;
        let ids = bytes.try_get_u64_le().ok()?;
        let count = bytes.try_get_u32_le().ok()? as usize;
        let fences = take_numbers(bytes, count)?;
        let starts = take_numbers(bytes, count.checked_add(1)?)?;
        let count = bytes.try_get_u32_le().ok()? as usize;
        let filter = if count == 0 {
            None
        } else {
            Some(take_filter(bytes, count)?)
        };
        let covered = whole.len() - bytes.len();
        let crc = bytes.try_get_u32_le().ok()?;
        let part = Self {
            ids,
            filter,
            fences,
            starts,
        };
        (crc32fast::hash(&whole[..covered]) == crc).then_some((partition, part))
    }
}

fn take_numbers(bytes: &mut &[u8], count: usize) -> Option<Vec<u64>> {
    let (numbers, rest) = bytes.split_at_checked(count.checked_mul(8)?)?;
    *bytes = rest;
    let numbers = numbers.as_chunks::<8>().0.iter();
    Some(numbers.map(|number| u64::from_le_bytes(*number)).collect())
}

fn take_filter(bytes: &mut &[u8], count: usize) -> Option<BinaryFuse16> {
    // The descriptor's type has no public name: a filter of one key is made and filled in.
    let mut filter = BinaryFuse16::try_from([0].as_slice()).ok()?;
    filter.descriptor.seed = bytes.try_get_u64_le().ok()?;
    filter.descriptor.segment_length = bytes.try_get_u32_le().ok()?;
    filter.descriptor.segment_length_mask = bytes.try_get_u32_le().ok()?;
    filter.descriptor.segment_count_length = bytes.try_get_u32_le().ok()?;
    let (prints, rest) = bytes.split_at_checked(count.checked_mul(2)?)?;
    *bytes = rest;
    let prints = prints.as_chunks::<2>().0.iter();
    filter.fingerprints = prints.map(|print| u16::from_le_bytes(*print)).collect();
    Some(filter)
}

/// CRC-32, least offset, the length and the outcome all ids share or 0, then per id: its length unless shared, itself, its offset above the
/// least, its outcome unless shared. Numbers are varints.
fn encode(block: &[(u64, SealedEntry)]) -> Vec<u8> {
    let least = block.iter().map(|(_, entry)| entry.offset).min();
    let least = least.unwrap_or_default();
    let length = shared(block.iter().map(|(_, entry)| entry.id.len() as u64));
    let outcome = shared(block.iter().map(|(_, entry)| entry.outcome.code().into()));
    let mut out = vec![0; CRC_BYTES];
    put_varint(&mut out, least);
    put_varint(&mut out, length);
    put_varint(&mut out, outcome);
    for (_, entry) in block {
        if length == 0 {
            put_varint(&mut out, entry.id.len() as u64);
        }
        out.put_slice(&entry.id);
        put_varint(&mut out, entry.offset - least);
        if outcome == 0 {
            put_varint(&mut out, entry.outcome.code().into());
        }
    }
    let crc = crc32fast::hash(&out[CRC_BYTES..]);
    out[..CRC_BYTES].copy_from_slice(&crc.to_le_bytes());
    out
}

/// The number that all are, or 0. No id is empty, and no outcome is 0.
fn shared(mut numbers: impl Iterator<Item = u64>) -> u64 {
    let first = numbers.next().unwrap_or_default();
    if numbers.all(|number| number == first) {
        first
    } else {
        0
    }
}

fn search(mut bytes: &[u8], wanted: &[u8]) -> Result<Option<(Offset, Outcome)>, StoreError> {
    let damaged = || StoreError::from(DamagedBlock);
    let crc = bytes.try_get_u32_le().map_err(|_| damaged())?;
    if crc32fast::hash(bytes) != crc {
        return Err(damaged());
    }
    let mut number = || take_varint(&mut bytes).ok_or_else(damaged);
    let (least, length, outcome) = (number()?, number()?, number()?);
    while !bytes.is_empty() {
        let entry = take_entry(&mut bytes, length, outcome);
        let (id, above, code) = entry.ok_or_else(damaged)?;
        if id == wanted {
            let outcome = u16::try_from(code).ok().and_then(Outcome::from_code);
            return Ok(Some((least + above, outcome.ok_or_else(damaged)?)));
        }
    }
    Ok(None)
}

/// Id, offset above the least, outcome.
fn take_entry<'a>(bytes: &mut &'a [u8], length: u64, outcome: u64) -> Option<(&'a [u8], u64, u64)> {
    let unless_shared = |bytes: &mut &'a [u8], shared| match shared {
        0 => take_varint(bytes),
        shared => Some(shared),
    };
    let length = usize::try_from(unless_shared(bytes, length)?).ok()?;
    let (id, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    let above = take_varint(bytes)?;
    Some((id, above, unless_shared(bytes, outcome)?))
}

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.put_u8(number as u8 | 0x80);
        number >>= 7;
    }
    out.put_u8(number as u8);
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = bytes.try_get_u8().ok()?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeSet, HashMap};

    fn entry(id: &[u8], offset: Offset) -> SealedEntry {
        SealedEntry {
            id: id.into(),
            offset,
            outcome: if offset.is_multiple_of(5) {
                Outcome::Malformed
            } else {
                Outcome::Joined
            },
        }
    }

    fn seal(dir: &Path, partitions: &[Vec<SealedEntry>]) -> Sealed {
        let mut sealer = Sealer::create(dir).unwrap();
        for (partition, entries) in (0..).zip(partitions) {
            sealer.partition(partition, entries.clone()).unwrap();
        }
        assert!(!Sealed::is_finished(dir));
        sealer.finish().unwrap();
        Sealed::open(dir).unwrap()
    }

    fn find(sealed: &Sealed, partition: PartitionId, id: &[u8]) -> Option<Offset> {
        sealed
            .find(partition, hash_of(id), id)
            .unwrap()
            .map(|(offset, _)| offset)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn what_was_sealed_is_found_and_nothing_else(
            ids in prop::collection::vec(prop::collection::btree_set(prop::collection::vec(any::<u8>(), 1..40), 0..500), 1..4),
            others in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 50),
        ) {
            let dir = tempfile::tempdir().unwrap();
            let partitions: Vec<Vec<SealedEntry>> = ids.iter()
                .map(|ids: &BTreeSet<Vec<u8>>| (100..).zip(ids).map(|(offset, id)| entry(id, offset * 7)).collect())
                .collect();
            let sealed = seal(dir.path(), &partitions);
            for (partition, entries) in (0..).zip(&partitions) {
                prop_assert_eq!(sealed.ids(partition), entries.len() as u64);
                let model: HashMap<&[u8], Offset> = entries.iter().map(|e| (&*e.id, e.offset)).collect();
                for id in entries.iter().map(|e| &*e.id).chain(others.iter().map(Vec::as_slice)) {
                    prop_assert_eq!(find(&sealed, partition, id), model.get(id).copied());
                }
            }
            prop_assert_eq!(find(&sealed, 99, b"x"), None);
        }

        #[test]
        fn a_flipped_bit_of_the_index_is_noticed(at: prop::sample::Index, bit in 0u8..8) {
            let dir = tempfile::tempdir().unwrap();
            let ids: Vec<_> = (0..300u64).map(|n| entry(&n.to_le_bytes(), n)).collect();
            drop(seal(dir.path(), &[ids]));
            let path = dir.path().join(INDEX);
            let mut bytes = fs::read(&path).unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            fs::write(&path, &bytes).unwrap();
            prop_assert!(Sealed::open(dir.path()).is_err());
            fs::write(&path, &bytes[..at]).unwrap();
            prop_assert!(Sealed::open(dir.path()).is_err());
        }

        #[test]
        fn varints_come_back(number: u64) {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, number);
            prop_assert_eq!(take_varint(&mut bytes.as_slice()), Some(number));
        }
    }

    #[test]
    fn equal_hashes_across_blocks_are_all_found() {
        // Equal hashes cannot be had from few ids, so the search is asked with the hash of the fence itself.
        let dir = tempfile::tempdir().unwrap();
        let ids: Vec<_> = (0..50_000u64).map(|n| entry(&n.to_le_bytes(), n)).collect();
        let sealed = seal(dir.path(), std::slice::from_ref(&ids));
        let fences = sealed.part(0).unwrap().fences.clone();
        for id in ids
            .iter()
            .filter(|entry| fences.contains(&hash_of(&entry.id)))
        {
            assert_eq!(find(&sealed, 0, &id.id), Some(id.offset));
        }
        assert!(sealed.memory_bytes() < 3 * 50_000);
    }

    #[test]
    fn a_cut_or_missing_file_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let ids: Vec<_> = (0..300u64).map(|n| entry(&n.to_le_bytes(), n)).collect();
        drop(seal(dir.path(), &[ids]));
        let blocks = File::options()
            .write(true)
            .open(dir.path().join(BLOCKS))
            .unwrap();
        blocks
            .set_len(blocks.metadata().unwrap().len() - 1)
            .unwrap();
        assert!(Sealed::open(dir.path()).is_err());
        fs::remove_file(dir.path().join(BLOCKS)).unwrap();
        assert!(Sealed::open(dir.path()).is_err());
    }

    #[test]
    fn a_damaged_block_is_an_error() {
        let mut block: Vec<_> = (0..9u64).map(|n| (n, entry(&n.to_le_bytes(), n))).collect();
        block[3].1.outcome = Outcome::Malformed;
        let bytes = encode(&block);
        assert!(search(&bytes, b"absent").unwrap().is_none());
        for at in 0..bytes.len() {
            let mut broken = bytes.clone();
            broken[at] ^= 4;
            assert!(search(&broken, b"absent").is_err());
            assert!(search(&bytes[..at], b"absent").is_err());
        }
    }
}
