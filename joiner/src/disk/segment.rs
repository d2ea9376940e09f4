//! A segment: events that do not change any more. Reads blocks; what memory holds of it is its summary and the list of the gone.

use super::error::{At, DiskError};
use super::filter::Filter;
use super::writer::{CRC_BYTES, ENTRY_HEADER_BYTES, ID_BYTES, PAGE_IDS};
use super::{Age, EXPIRY_SPAN_MS};
use crate::cache::Events;
use crate::event::{Event, Stored};
use bytes::{Buf, BufMut};
use parking_lot::RwLock;
use roaring::RoaringBitmap;
use rtf_service::mutant;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

pub(super) const TRAILER_MAGIC: &[u8; 8] = b"RTFSEGM1";
/// The summary's length, its checksum and the magic.
const TRAILER_BYTES: u64 = 20;

/// What memory knows of a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Fence {
    /// Of the first key in it.
    pub hash: u64,
    /// Where it begins; it ends where the next begins.
    pub start: u64,
    /// The number of its first event.
    pub first: u32,
    /// The minute by whose beginning all of it has expired.
    pub expires_max: u32,
}

/// Which of a partition's records lie in a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Spread {
    pub partition: u32,
    pub least: u64,
    pub most: u64,
    pub events: u32,
}

/// What memory holds of a segment.
pub(super) struct Summary {
    pub events: u32,
    pub ids_start: u64,
    pub summary_start: u64,
    pub fences: Vec<Fence>,
    /// Each page's first hash.
    pub id_fences: Vec<u64>,
    pub keys: Filter,
    pub ids: Filter,
    /// By when how many events have expired, ms.
    pub expiring: Vec<(i64, u32)>,
    pub spread: Vec<Spread>,
}

/// An event in a segment.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Found {
    /// Its number there.
    pub number: u32,
    pub key_hash: u64,
    pub event: Event,
}

/// A segment; shared by all who read it.
pub(crate) struct Segment {
    path: PathBuf,
    file: File,
    bytes: u64,
    summary: Summary,
    /// Numbers of the events that were replaced or deleted. Only the tail adds to it.
    gone: RwLock<RoaringBitmap>,
}

impl Segment {
    pub(super) fn new(path: &Path, file: File, summary: Summary, bytes: u64) -> Self {
        Self {
            path: path.into(),
            file,
            bytes,
            summary,
            gone: RwLock::default(),
        }
    }

    /// Reads the summary of a segment and checks it; events are checked when they are read.
    pub fn open(path: &Path, gone: RoaringBitmap) -> Result<Self, DiskError> {
        let damaged = |words| DiskError::damaged(path, words);
        let file = File::open(path).at(path)?;
        let bytes = file.metadata().at(path)?.len();
        let end = bytes.checked_sub(TRAILER_BYTES);
        let end = end.ok_or_else(|| damaged("it is too short"))?;
        let mut trailer = [0; TRAILER_BYTES as usize];
        file.read_exact_at(&mut trailer, end).at(path)?;
        let mut trailer = &trailer[..];
        let (length, crc) = (trailer.get_u64_le(), trailer.get_u32_le());
        let start = end.checked_sub(length);
        let start = start.filter(|_| trailer == TRAILER_MAGIC);
        let start = start.ok_or_else(|| damaged("it does not end as a segment does"))?;
        let mut summary = vec![0; (end - start) as usize];
        file.read_exact_at(&mut summary, start).at(path)?;
        if crc32fast::hash(&summary) != crc {
            return Err(damaged("its summary's checksum is wrong"));
        }
        let summary = decode_summary(&summary, start).ok_or_else(|| damaged("its summary"))?;
        Ok(Self {
            gone: RwLock::new(gone),
            ..Self::new(path, file, summary, bytes)
        })
    }

    /// Events in it, with those that are gone.
    pub fn written(&self) -> u64 {
        self.summary.events.into()
    }
    /// Events in it.
    pub fn live(&self) -> u64 {
        self.written() - self.gone.read().len()
    }
    pub fn disk_bytes(&self) -> u64 {
        self.bytes
    }
    /// Bytes of filters and fences.
    pub fn memory_bytes(&self) -> usize {
        let summary = &self.summary;
        summary.keys.memory_bytes()
            + summary.ids.memory_bytes()
            + summary.fences.len() * size_of::<Fence>()
            + summary.id_fences.len() * 8
    }

    /// Which are gone by now.
    pub fn gone(&self) -> RoaringBitmap {
        self.gone.read().clone()
    }
    /// Marks an event as gone.
    pub fn remove(&self, number: u32) {
        self.gone.write().insert(number);
    }
    pub fn is_gone(&self, number: u32) -> bool {
        self.gone.read().contains(number)
    }

    /// Events that a merge would leave behind, about: these that are gone, what has expired, what has left the topic.
    pub fn waste(&self, age: &Age, gone: &RoaringBitmap) -> u64 {
        let expiring = self.summary.expiring.iter();
        let expired = expiring.take_while(|(by, _)| *by + EXPIRY_SPAN_MS <= age.now_ms);
        let expired: u64 = expired.map(|(_, events)| u64::from(*events)).sum();
        let left: u64 = self
            .summary
            .spread
            .iter()
            .map(|spread| spread.left(age))
            .sum();
        (gone.len() + expired + left).min(self.written())
    }

    /// Whether there may be events under a key with this hash; never touches the disk.
    pub fn may_hold_key(&self, hash: u64) -> bool {
        self.summary.keys.may_hold(hash)
    }
    /// Whether there may be an event whose id has this hash; never touches the disk.
    pub fn may_hold_id(&self, hash: u64) -> bool {
        self.summary.ids.may_hold(hash)
    }

    /// Adds the first events of a key to `events`, in the policy's order, `limit` at the most.
    pub fn find_key(
        &self,
        hash: u64,
        key: &[u8],
        now_ms: i64,
        limit: usize,
        events: &mut Events,
    ) -> Result<(), DiskError> {
        let fences = &self.summary.fences;
        let enough = events.len() + limit;
        // The first block that may hold the hash, and those after it that begin with it.
        let first = fences
            .partition_point(|fence| fence.hash < hash)
            .saturating_sub(1);
        for (number, _) in (first..)
            .zip(&fences[first..])
            .take_while(|(_, fence)| fence.hash <= hash)
        {
            if self.is_useless(number, now_ms) {
                continue;
            }
            let block = self.block(number)?;
            for entry in Entries::new(&block, fences[number].first) {
                let (number, entry_hash, bytes) = entry.ok_or_else(|| self.bad_block())?;
                if entry_hash != hash || self.is_gone(number) {
                    continue;
                }
                let event = Stored::decode(bytes).ok_or_else(|| self.bad_block())?;
                if event.key() == key && !event.is_expired(now_ms) {
                    events.push(event.to_event());
                    if events.len() == enough {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    /// The event with this id, unless it is gone.
    pub fn find_id(&self, hash: u64, id: &[u8]) -> Result<Option<Found>, DiskError> {
        let fences = &self.summary.id_fences;
        let first = fences
            .partition_point(|fence| *fence < hash)
            .saturating_sub(1);
        for (page, _) in (first..)
            .zip(&fences[first..])
            .take_while(|(_, fence)| **fence <= hash)
        {
            for number in self.numbers(page, hash)? {
                if self.is_gone(number) {
                    continue;
                }
                let found = self.event(number)?;
                if found.event.id() == Some(id) {
                    return Ok(Some(found));
                }
            }
        }
        Ok(None)
    }

    /// Numbers of the events on a page of ids whose id has this hash.
    fn numbers(&self, page: usize, hash: u64) -> Result<Vec<u32>, DiskError> {
        let page_bytes = (CRC_BYTES + PAGE_IDS * ID_BYTES) as u64;
        let start = self.summary.ids_start + page as u64 * page_bytes;
        let end = (start + page_bytes).min(self.summary.summary_start);
        let page = self.read(start, end)?;
        let (ids, _) = page[CRC_BYTES..].as_chunks::<ID_BYTES>();
        let hash_of = |id: &[u8; ID_BYTES]| (&id[..]).get_u64_le();
        let from = ids.partition_point(|id| hash_of(id) < hash);
        let same = ids[from..].iter().take_while(|id| hash_of(id) == hash);
        Ok(same.map(|id| (&id[8..]).get_u32_le()).collect())
    }

    fn event(&self, number: u32) -> Result<Found, DiskError> {
        let fences = &self.summary.fences;
        let block = fences
            .partition_point(|fence| fence.first <= number)
            .checked_sub(1);
        let block = block.ok_or_else(|| self.bad_block())?;
        let bytes = self.block(block)?;
        let skip = (number - fences[block].first) as usize;
        let entry = Entries::new(&bytes, fences[block].first)
            .nth(skip)
            .flatten();
        let decoded =
            entry.and_then(|(_, key_hash, bytes)| Some((key_hash, Stored::decode(bytes)?)));
        let (key_hash, event) = decoded.ok_or_else(|| self.bad_block())?;
        Ok(Found {
            number,
            key_hash,
            event: event.to_event(),
        })
    }

    /// Whether nothing in a block matches anybody any more.
    fn is_useless(&self, block: usize, now_ms: i64) -> bool {
        let fences = &self.summary.fences;
        let fence = &fences[block];
        if fence.expires_max != u32::MAX && i64::from(fence.expires_max) * EXPIRY_SPAN_MS <= now_ms
        {
            return true;
        }
        let end = fences
            .get(block + 1)
            .map_or(self.summary.events, |next| next.first);
        let gone = self.gone.read();
        !gone.is_empty() && gone.contains_range(fence.first..end)
    }

    fn block(&self, number: usize) -> Result<Vec<u8>, DiskError> {
        let (start, end) = self.bounds(number);
        self.read(start, end)
    }

    /// Where a block begins and ends.
    fn bounds(&self, block: usize) -> (u64, u64) {
        let fences = &self.summary.fences;
        let end = fences
            .get(block + 1)
            .map_or(self.summary.ids_start, |next| next.start);
        (fences[block].start, end)
    }

    /// A block or a page, its checksum right.
    fn read(&self, start: u64, end: u64) -> Result<Vec<u8>, DiskError> {
        let mut bytes = Vec::new();
        self.read_into(start, end, &mut bytes)?;
        Ok(bytes)
    }

    fn read_into(&self, start: u64, end: u64, bytes: &mut Vec<u8>) -> Result<(), DiskError> {
        bytes.resize((end - start) as usize, 0);
        self.file.read_exact_at(bytes, start).at(&self.path)?;
        match bytes.split_at_checked(CRC_BYTES) {
            Some((crc, content)) if crc32fast::hash(content).to_le_bytes() == crc => Ok(()),
            Some(_) if mutant::is("event-block-sum-not-compared") => Ok(()),
            _ => Err(self.bad_block()),
        }
    }

    fn bad_block(&self) -> DiskError {
        DiskError::damaged(&self.path, "a block's checksum or content is wrong")
    }
}

impl Spread {
    /// Events whose records have left the topic, about: as if they were evenly spread.
    fn left(&self, age: &Age) -> u64 {
        if age.has_left(self.partition, self.most) {
            return self.events.into();
        }
        let floor = age
            .floors
            .get(self.partition as usize)
            .copied()
            .unwrap_or(0);
        let (passed, span) = (floor.saturating_sub(self.least), self.most - self.least + 1);
        (u128::from(self.events) * u128::from(passed) / u128::from(span)) as u64
    }
}

/// The entries of a block: number, key's hash, event. `None` is an entry that is none; nothing comes after it.
struct Entries<'a> {
    rest: &'a [u8],
    number: u32,
}

impl<'a> Entries<'a> {
    fn new(block: &'a [u8], first: u32) -> Self {
        Self {
            rest: &block[CRC_BYTES..],
            number: first,
        }
    }

    fn take(&mut self) -> Option<(u32, u64, &'a [u8])> {
        let (hash, bytes) = split_entry(self.rest)?;
        self.rest = &self.rest[ENTRY_HEADER_BYTES + bytes.len()..];
        self.number += 1;
        Some((self.number - 1, hash, bytes))
    }
}

/// The key's hash and the event of the entry that comes first in these bytes.
fn split_entry(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (mut header, rest) = bytes.split_at_checked(ENTRY_HEADER_BYTES)?;
    let (len, hash) = (header.get_u32_le() as usize, header.get_u64_le());
    Some((hash, rest.get(..len)?))
}

impl<'a> Iterator for Entries<'a> {
    type Item = Option<(u32, u64, &'a [u8])>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let entry = self.take();
        if entry.is_none() {
            self.rest = &[];
        }
        Some(entry)
    }
}

/// Goes through all events of a segment in their order, with those that are gone, and looks at them where they lie.
pub(crate) struct Cursor<'s> {
    segment: &'s Segment,
    /// The block that is read next.
    next: usize,
    block: Vec<u8>,
    /// Where in it the event stands that is looked at; at its end when there is none left.
    at: usize,
    number: u32,
}

/// An event that is looked at.
pub(crate) struct Entry<'c> {
    /// Its number in its segment.
    pub number: u32,
    pub key_hash: u64,
    pub event: Stored<'c>,
}

impl<'s> Cursor<'s> {
    /// At the first event.
    pub fn new(segment: &'s Segment) -> Result<Self, DiskError> {
        let mut cursor = Self {
            segment,
            next: 0,
            block: Vec::new(),
            at: 0,
            number: 0,
        };
        cursor.turn()?;
        Ok(cursor)
    }

    /// The hash of the key of the event that is looked at; `None` at the end.
    pub fn key_hash(&self) -> Option<u64> {
        split_entry(&self.block[self.at..]).map(|(hash, _)| hash)
    }

    /// The event that is looked at; `None` at the end.
    pub fn entry(&self) -> Result<Option<Entry<'_>>, DiskError> {
        let rest = &self.block[self.at..];
        if rest.is_empty() {
            return Ok(None);
        }
        let entry = split_entry(rest).and_then(|(key_hash, bytes)| {
            Some(Entry {
                number: self.number,
                key_hash,
                event: Stored::decode(bytes)?,
            })
        });
        entry.map(Some).ok_or_else(|| self.segment.bad_block())
    }

    /// Goes on to the next event.
    pub fn advance(&mut self) -> Result<(), DiskError> {
        let Some((_, bytes)) = split_entry(&self.block[self.at..]) else {
            return Ok(());
        };
        self.at += ENTRY_HEADER_BYTES + bytes.len();
        self.number += 1;
        match self.at < self.block.len() {
            true => self.check(),
            false => self.turn(),
        }
    }

    /// Reads the next block, if there is one.
    fn turn(&mut self) -> Result<(), DiskError> {
        self.block.clear();
        self.at = 0;
        if self.next == self.segment.summary.fences.len() {
            return Ok(());
        }
        let (start, end) = self.segment.bounds(self.next);
        self.segment.read_into(start, end, &mut self.block)?;
        self.at = CRC_BYTES;
        self.number = self.segment.summary.fences[self.next].first;
        self.next += 1;
        self.check()
    }

    /// What is left of a block is an entry.
    fn check(&self) -> Result<(), DiskError> {
        match split_entry(&self.block[self.at..]) {
            Some(_) => Ok(()),
            None => Err(self.segment.bad_block()),
        }
    }
}

pub(super) fn encode_summary(summary: &Summary) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_u32_le(summary.events);
    out.put_u64_le(summary.ids_start);
    out.put_u32_le(summary.fences.len() as u32);
    for fence in &summary.fences {
        out.put_u64_le(fence.hash);
        out.put_u64_le(fence.start);
        out.put_u32_le(fence.first);
        out.put_u32_le(fence.expires_max);
    }
    out.put_u32_le(summary.id_fences.len() as u32);
    summary
        .id_fences
        .iter()
        .for_each(|hash| out.put_u64_le(*hash));
    summary.keys.encode(&mut out);
    summary.ids.encode(&mut out);
    out.put_u32_le(summary.expiring.len() as u32);
    for (by, events) in &summary.expiring {
        out.put_i64_le(*by);
        out.put_u32_le(*events);
    }
    out.put_u32_le(summary.spread.len() as u32);
    for spread in &summary.spread {
        out.put_u32_le(spread.partition);
        out.put_u64_le(spread.least);
        out.put_u64_le(spread.most);
        out.put_u32_le(spread.events);
    }
    out
}

fn decode_summary(mut bytes: &[u8], summary_start: u64) -> Option<Summary> {
    let bytes = &mut bytes;
    let events = bytes.try_get_u32_le().ok()?;
    let ids_start = bytes.try_get_u64_le().ok()?;
    let fences = take_list(bytes, |bytes| {
        Some(Fence {
            hash: bytes.try_get_u64_le().ok()?,
            start: bytes.try_get_u64_le().ok()?,
            first: bytes.try_get_u32_le().ok()?,
            expires_max: bytes.try_get_u32_le().ok()?,
        })
    })?;
    let id_fences = take_list(bytes, |bytes| bytes.try_get_u64_le().ok())?;
    let keys = Filter::take(bytes)?;
    let ids = Filter::take(bytes)?;
    let expiring = take_list(bytes, |bytes| {
        Some((bytes.try_get_i64_le().ok()?, bytes.try_get_u32_le().ok()?))
    })?;
    let spread = take_list(bytes, |bytes| {
        Some(Spread {
            partition: bytes.try_get_u32_le().ok()?,
            least: bytes.try_get_u64_le().ok()?,
            most: bytes.try_get_u64_le().ok()?,
            events: bytes.try_get_u32_le().ok()?,
        })
    })?;
    bytes.is_empty().then_some(Summary {
        events,
        ids_start,
        summary_start,
        fences,
        id_fences,
        keys,
        ids,
        expiring,
        spread,
    })
}

/// A number, then so many of them.
pub(super) fn take_list<T>(
    bytes: &mut &[u8],
    take: impl Fn(&mut &[u8]) -> Option<T>,
) -> Option<Vec<T>> {
    let count = bytes.try_get_u32_le().ok()?;
    (0..count).map(|_| take(bytes)).collect()
}
