//! Writes a segment in one go: blocks of events in hash order, pages of ids in hash order, then what memory holds of it.

use super::EXPIRY_SPAN_MS;
use super::error::{At, DiskError};
use super::filter::Filter;
use super::segment::{Fence, Segment, Spread, Summary, TRAILER_MAGIC, encode_summary};
use crate::event::{Block, Event};
use bytes::BufMut;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// A block is closed when it has so many bytes: two of the file system's pages.
const BLOCK_BYTES: usize = 8 << 10;
const BUFFER_BYTES: usize = 1 << 20;
pub(super) const CRC_BYTES: usize = 4;
/// Of an entry: its length and its key's hash.
pub(super) const ENTRY_HEADER_BYTES: usize = 12;
/// Of an id: its hash and its event's number.
pub(super) const ID_BYTES: usize = 12;
/// Ids in a page, which is so 4 KiB long.
pub(super) const PAGE_IDS: usize = 341;
/// Expiries are counted by the hour.
const HOUR_MS: i64 = 60 * EXPIRY_SPAN_MS;

/// A segment on its way to the disk.
pub(crate) struct Writer {
    path: PathBuf,
    file: BufWriter<File>,
    written: u64,
    block: Vec<u8>,
    block_fence: Option<Fence>,
    hashes: Vec<u64>,
    ids: Vec<(u64, u32)>,
    fences: Vec<Fence>,
    events: u32,
    expiring: BTreeMap<i64, u32>,
    spread: BTreeMap<u32, Spread>,
}

impl Writer {
    /// Begins a file, instead of one that a crash left there.
    pub fn create(path: &Path) -> Result<Self, DiskError> {
        let file = File::create(path).at(path)?;
        Ok(Self {
            path: path.into(),
            file: BufWriter::with_capacity(BUFFER_BYTES, file),
            written: 0,
            block: vec![0; CRC_BYTES],
            block_fence: None,
            hashes: Vec::new(),
            ids: Vec::new(),
            fences: Vec::new(),
            events: 0,
            expiring: BTreeMap::new(),
            spread: BTreeMap::new(),
        })
    }

    /// Adds the next event and gives its number. Hashes never fall, and the events of a key come in the policy's order.
    pub fn push<B: Block>(
        &mut self,
        key_hash: u64,
        id_hash: Option<u64>,
        event: &Event<B>,
    ) -> Result<u32, DiskError> {
        let number = self.events;
        let fence = self.block_fence.get_or_insert(Fence {
            hash: key_hash,
            start: self.written,
            first: number,
            expires_max: 0,
        });
        fence.expires_max = fence.expires_max.max(minutes(event.expires()));
        let at = self.block.len();
        self.block.put_u32_le(0);
        self.block.put_u64_le(key_hash);
        event.encode(&mut self.block);
        let len = (self.block.len() - at - ENTRY_HEADER_BYTES) as u32;
        self.block[at..at + 4].copy_from_slice(&len.to_le_bytes());
        self.hashes.push(key_hash);
        self.ids.extend(id_hash.map(|hash| (hash, number)));
        self.count(event);
        self.events += 1;
        if self.block.len() >= BLOCK_BYTES {
            self.close_block()?;
        }
        Ok(number)
    }

    fn count<B: Block>(&mut self, event: &Event<B>) {
        if let Some(expires) = event.expires() {
            *self
                .expiring
                .entry(expires.div_euclid(HOUR_MS) + 1)
                .or_default() += 1;
        }
        let place = event.place();
        let spread = self.spread.entry(place.partition).or_insert(Spread {
            partition: place.partition,
            least: place.offset,
            most: place.offset,
            events: 0,
        });
        spread.least = spread.least.min(place.offset);
        spread.most = spread.most.max(place.offset);
        spread.events += 1;
    }

    fn close_block(&mut self) -> Result<(), DiskError> {
        let Some(fence) = self.block_fence.take() else {
            return Ok(());
        };
        self.fences.push(fence);
        seal(&mut self.block);
        self.file.write_all(&self.block).at(&self.path)?;
        self.written += self.block.len() as u64;
        self.block.truncate(CRC_BYTES);
        Ok(())
    }

    /// Gets all of it to the disk.
    pub fn finish(mut self) -> Result<Segment, DiskError> {
        self.close_block()?;
        let ids_start = self.written;
        let id_fences = self.write_ids()?;
        let unbuildable = || DiskError::damaged(&self.path, "a filter could not be built");
        let ids = std::mem::take(&mut self.ids);
        let ids = Filter::of(ids.into_iter().map(|(hash, _)| hash).collect());
        let keys = Filter::of(std::mem::take(&mut self.hashes));
        let summary = Summary {
            events: self.events,
            ids_start,
            summary_start: self.written,
            fences: self.fences,
            id_fences,
            keys: keys.ok_or_else(unbuildable)?,
            ids: ids.ok_or_else(unbuildable)?,
            expiring: self
                .expiring
                .into_iter()
                .map(|(hour, n)| (hour * HOUR_MS, n))
                .collect(),
            spread: self.spread.into_values().collect(),
        };
        let mut bytes = encode_summary(&summary);
        let (length, crc) = (bytes.len() as u64, crc32fast::hash(&bytes));
        bytes.put_u64_le(length);
        bytes.put_u32_le(crc);
        bytes.put_slice(TRAILER_MAGIC);
        self.file.write_all(&bytes).at(&self.path)?;
        let file = self
            .file
            .into_inner()
            .map_err(std::io::IntoInnerError::into_error);
        file.and_then(|file| file.sync_all()).at(&self.path)?;
        let file = File::open(&self.path).at(&self.path)?;
        Ok(Segment::new(
            &self.path,
            file,
            summary,
            self.written + bytes.len() as u64,
        ))
    }

    fn write_ids(&mut self) -> Result<Vec<u64>, DiskError> {
        self.ids.sort_unstable();
        let mut fences = Vec::with_capacity(self.ids.len().div_ceil(PAGE_IDS));
        let mut page = Vec::with_capacity(CRC_BYTES + PAGE_IDS * ID_BYTES);
        for ids in self.ids.chunks(PAGE_IDS) {
            fences.push(ids[0].0);
            page.clear();
            page.put_u32_le(0);
            for (hash, number) in ids {
                page.put_u64_le(*hash);
                page.put_u32_le(*number);
            }
            seal(&mut page);
            self.file.write_all(&page).at(&self.path)?;
            self.written += page.len() as u64;
        }
        Ok(fences)
    }
}

/// Writes the checksum into the place that was left for it.
fn seal(block: &mut [u8]) {
    let crc = crc32fast::hash(&block[CRC_BYTES..]);
    block[..CRC_BYTES].copy_from_slice(&crc.to_le_bytes());
}

/// Minutes since 1970, rounded up; the largest number is "never".
fn minutes(expires: Option<i64>) -> u32 {
    let minutes = |ms: i64| ms.max(0).div_euclid(EXPIRY_SPAN_MS) + 1;
    expires.map_or(u32::MAX, |ms| {
        u32::try_from(minutes(ms)).unwrap_or(u32::MAX)
    })
}
