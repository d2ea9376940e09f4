//! What a partition remembers, in memory: a table of fingerprints into blocks, and the blocks not yet committed.
//!
//! A fingerprint is 32 bits of the id's hash; with the place of the entry (26 bits block, 6 bits slot) it makes
//! one `u64`. An absent id is nearly always answered from the table alone; a hit reads one block and compares the whole id.

use crate::apply::Winner;
use crate::block::{BLOCK_IDS, DamagedBlock, Entry, visit};
use crate::store::{Blocks, StoreError};
use hashbrown::HashTable;
use rtf_proto::PartitionId;
use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hasher};

const SLOT_BITS: u32 = 6;

/// Where an entry lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Location(u32);

impl Location {
    fn new(block: u32, slot: usize) -> Self {
        assert!(
            block < 1 << (32 - SLOT_BITS),
            "a bucket holds at most 2^26 blocks per partition"
        );
        Self(block << SLOT_BITS | slot as u32)
    }
    fn block(self) -> u32 {
        self.0 >> SLOT_BITS
    }
    fn slot(self) -> usize {
        (self.0 & ((1 << SLOT_BITS) - 1)) as usize
    }
}

/// A partition's memory.
pub struct Memory {
    partition: PartitionId,
    /// `fingerprint << 32 | location`.
    table: HashTable<u64>,
    /// Blocks that changed since the last commit, the last one open; the first has number `first_uncommitted`.
    uncommitted: VecDeque<Vec<Entry>>,
    first_uncommitted: u32,
    ids: u64,
    blocks: Blocks,
}

/// A fixed hash: it decides nothing that is seen outside, but a run should be repeatable.
fn fingerprint(id: &[u8]) -> u32 {
    let mut hasher = DefaultHasher::new();
    hasher.write(id);
    hasher.finish() as u32
}

/// Spreads a fingerprint over the table's 64 bits: the table wants its top seven bits and its low ones independent.
fn spread(fingerprint: u32) -> u64 {
    u64::from(fingerprint).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn hash_of(cell: &u64) -> u64 {
    spread((cell >> 32) as u32)
}

impl Memory {
    /// Remembers nothing yet.
    pub fn empty(partition: PartitionId, blocks: Blocks) -> Self {
        Self {
            partition,
            table: HashTable::new(),
            uncommitted: VecDeque::new(),
            first_uncommitted: 0,
            ids: 0,
            blocks,
        }
    }

    /// Reads what is on disk.
    ///
    /// # Errors
    /// A block that is damaged or missing.
    pub fn load(partition: PartitionId, blocks: Blocks) -> Result<Self, StoreError> {
        let mut memory = Self::empty(partition, blocks.clone());
        let mut open: Option<Vec<Entry>> = None;
        for block in blocks.all(partition) {
            let (number, bytes) = block?;
            if open.is_some() || number != memory.first_uncommitted {
                return Err(StoreError::Damaged(DamagedBlock));
            }
            let entries = crate::block::decode(&bytes).map_err(StoreError::Damaged)?;
            for (slot, entry) in entries.iter().enumerate() {
                memory.enter(&entry.id, Location::new(number, slot));
            }
            if entries.len() < BLOCK_IDS {
                open = Some(entries);
            } else {
                memory.first_uncommitted += 1;
            }
        }
        memory.uncommitted.extend(open);
        Ok(memory)
    }

    /// Ids remembered.
    pub fn ids(&self) -> u64 {
        self.ids
    }

    /// Whether the id is certainly not remembered; never touches the disk.
    pub fn is_absent(&self, id: &[u8]) -> bool {
        let fingerprint = fingerprint(id);
        self.table
            .find(spread(fingerprint), |cell| {
                (cell >> 32) as u32 == fingerprint
            })
            .is_none()
    }

    fn enter(&mut self, id: &[u8], location: Location) {
        let fingerprint = fingerprint(id);
        let cell = u64::from(fingerprint) << 32 | u64::from(location.0);
        self.table.insert_unique(spread(fingerprint), cell, hash_of);
        self.ids += 1;
    }

    /// The entry at a place, if it is of this id.
    fn read(&self, location: Location, id: &[u8]) -> Result<Option<Winner>, StoreError> {
        let of_id = |entry: &Entry| (*entry.id == *id).then_some(entry.winner);
        if location.block() >= self.first_uncommitted {
            let block = &self.uncommitted[(location.block() - self.first_uncommitted) as usize];
            return Ok(of_id(&block[location.slot()]));
        }
        let bytes = self.blocks.read(self.partition, location.block())?;
        let (mut slot, mut found) = (0, None);
        visit(&bytes, |entry_id, winner| {
            if slot == location.slot() && entry_id == id {
                found = Some(winner);
            }
            slot += 1;
            slot <= location.slot()
        })
        .map_err(StoreError::Damaged)?;
        Ok(found)
    }

    /// Blocks that are not on disk as they are here, with their numbers.
    pub fn uncommitted(&self) -> impl Iterator<Item = (u32, &[Entry])> {
        (self.first_uncommitted..).zip(self.uncommitted.iter().map(Vec::as_slice))
    }

    /// All of [`uncommitted`](Self::uncommitted) is on disk now. The last block stays here while it has room, unless
    /// nothing more will come (`whole`).
    pub fn committed(&mut self, whole: bool) {
        while self
            .uncommitted
            .front()
            .is_some_and(|block| whole || block.len() == BLOCK_IDS)
        {
            self.uncommitted.pop_front();
            self.first_uncommitted += 1;
        }
    }
}

impl Memory {
    /// The winner of an id, if it is remembered.
    ///
    /// # Errors
    /// A block that cannot be read.
    pub fn find(&self, id: &[u8]) -> Result<Option<Winner>, StoreError> {
        let fingerprint = fingerprint(id);
        for cell in self.table.iter_hash(spread(fingerprint)) {
            if (cell >> 32) as u32 == fingerprint
                && let Some(winner) = self.read(Location(*cell as u32), id)?
            {
                return Ok(Some(winner));
            }
        }
        Ok(None)
    }

    /// Remembers a winner; the id has none yet.
    pub fn insert(&mut self, id: &[u8], winner: Winner) {
        if self
            .uncommitted
            .back()
            .is_none_or(|block| block.len() == BLOCK_IDS)
        {
            self.uncommitted.push_back(Vec::with_capacity(BLOCK_IDS));
        }
        let number = self.first_uncommitted + self.uncommitted.len() as u32 - 1;
        let block = self.uncommitted.back_mut().expect("just made");
        block.push(Entry {
            id: id.into(),
            winner,
        });
        let location = Location::new(number, block.len() - 1);
        self.enter(id, location);
    }
}
