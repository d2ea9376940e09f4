//! Blocks and applied offsets in sled: a view of the log that can be thrown away. The only file that says `sled`.
//!
//! ```text
//! <data>/log            which log this is a view of
//! <data>/bucket-0/      one sled database: `b`,partition,block → block; `a`,partition → applied
//! ```
//!
//! One bucket for now; a bucket is a directory of its own so that forgetting is the removal of a directory.

use crate::apply::Place;
use crate::block::{DamagedBlock, Entry};
use crate::error::RegistryFailure;
use bytes::{Buf, BufMut};
use rtf_proto::{LogId, Offset, PartitionId};
use sled::IVec;
use std::fs::{self, File};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Bytes sled may cache: blocks are read when a fingerprint hits, which is rare.
const CACHE_BYTES: u64 = 32 << 20;
/// How long to wait for a lock that is being given up.
const LOCK_WITHIN: Duration = Duration::from_secs(3);
const LOCK_POLL: Duration = Duration::from_millis(20);
const BLOCK: u8 = b'b';
const APPLIED: u8 = b'a';

/// What sled could not do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// sled said so.
    #[error("the registry's database failed: {0}")]
    Sled(#[from] sled::Error),
    /// It gave something else than was written.
    #[error(transparent)]
    Damaged(DamagedBlock),
    /// It does not have what it must.
    #[error("block {block} of partition {partition} is missing")]
    Missing {
        /// Partition of the log.
        partition: PartitionId,
        /// Block number.
        block: u32,
    },
}

/// How far a partition's log is applied, and what its last record was.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Applied {
    /// The first offset not yet applied.
    pub next: Offset,
    /// The last record applied: offset and hash. It must be there when the log is opened again.
    pub anchor: Option<(Offset, u32)>,
}

impl Applied {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(24);
        out.put_u64_le(self.next);
        if let Some((offset, hash)) = self.anchor {
            out.put_u64_le(offset);
            out.put_u32_le(hash);
        }
        let crc = crc32fast::hash(&out);
        out.put_u32_le(crc);
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (mut body, mut crc) = bytes.split_at_checked(bytes.len().checked_sub(4)?)?;
        if crc32fast::hash(body) != crc.get_u32_le() {
            return None;
        }
        let next = body.try_get_u64_le().ok()?;
        let anchor = match body.try_get_u64_le() {
            Ok(offset) => Some((offset, body.try_get_u32_le().ok()?)),
            Err(_) => None,
        };
        Some(Self { next, anchor })
    }
}

/// Reading blocks; cheap to clone.
#[derive(Clone)]
pub struct Blocks(sled::Db);

impl Blocks {
    /// One block's bytes.
    pub fn read(&self, partition: PartitionId, block: u32) -> Result<IVec, StoreError> {
        self.0
            .get(block_key(partition, block))?
            .ok_or(StoreError::Missing { partition, block })
    }

    /// All blocks of a partition, by number.
    pub fn all(
        &self,
        partition: PartitionId,
    ) -> impl Iterator<Item = Result<(u32, IVec), StoreError>> {
        let mut prefix = vec![BLOCK];
        prefix.put_u32(partition);
        self.0.scan_prefix(prefix).map(|item| {
            let (key, bytes) = item?;
            let number = key
                .get(5..9)
                .and_then(|n| n.try_into().ok())
                .ok_or(StoreError::Damaged(DamagedBlock))?;
            Ok((u32::from_be_bytes(number), bytes))
        })
    }
}

fn block_key(partition: PartitionId, block: u32) -> [u8; 9] {
    let mut key = [BLOCK; 9];
    key[1..5].copy_from_slice(&partition.to_be_bytes());
    key[5..].copy_from_slice(&block.to_be_bytes());
    key
}

fn applied_key(partition: PartitionId) -> [u8; 5] {
    let mut key = [APPLIED; 5];
    key[1..].copy_from_slice(&partition.to_be_bytes());
    key
}

/// What one commit writes of one partition.
pub struct PartitionCommit<'a> {
    /// The partition.
    pub place: &'a Place,
    /// How far it is applied with these blocks.
    pub applied: Applied,
    /// Blocks that changed.
    pub blocks: Vec<(u32, &'a [Entry])>,
}

/// The database of one bucket.
pub struct Store {
    db: sled::Db,
    bucket: PathBuf,
}

impl Store {
    /// Opens the directory for this log; what is broken is moved aside, and an empty one begun.
    ///
    /// # Errors
    /// A directory of another log, or one that cannot be used at all.
    pub fn open(data: &Path, topic: &str, log: LogId) -> Result<Self, RegistryFailure> {
        claim(data, topic, log)?;
        let bucket = data.join("bucket-0");
        match open_unlocked(&bucket) {
            Ok(db) => Ok(Self { db, bucket }),
            Err(words) if is_locked(&words) => {
                let words = "another process uses this directory; each registry needs its own [registry].data".into();
                Err(RegistryFailure::Data {
                    path: bucket,
                    words,
                })
            }
            Err(words) => {
                set_aside(&bucket, &words)?;
                Self::fresh(&bucket)
            }
        }
    }

    fn fresh(bucket: &Path) -> Result<Self, RegistryFailure> {
        let failed = |words| RegistryFailure::Data {
            path: bucket.into(),
            words,
        };
        Ok(Self {
            db: open_db(bucket).map_err(failed)?,
            bucket: bucket.into(),
        })
    }

    /// Throws the database away, keeping it beside for whoever wants to know why, and begins an empty one.
    ///
    /// # Errors
    /// The directory cannot be moved or made.
    pub fn rebuild(self, words: &str) -> Result<Self, RegistryFailure> {
        let bucket = self.bucket.clone();
        drop(self);
        set_aside(&bucket, words)?;
        Self::fresh(&bucket)
    }

    /// A reader.
    pub fn blocks(&self) -> Blocks {
        Blocks(self.db.clone())
    }

    /// How far a partition is applied.
    ///
    /// # Errors
    /// A value that was not written here.
    pub fn applied(&self, partition: PartitionId) -> Result<Applied, StoreError> {
        match self.db.get(applied_key(partition))? {
            None => Ok(Applied::default()),
            Some(bytes) => Applied::decode(&bytes).ok_or(StoreError::Damaged(DamagedBlock)),
        }
    }

    /// Writes blocks and applied offsets, all or nothing.
    ///
    /// # Errors
    /// sled could not.
    pub fn commit(&self, partitions: &[PartitionCommit<'_>]) -> Result<(), StoreError> {
        let mut batch = sled::Batch::default();
        for commit in partitions {
            let partition = commit.place.partition;
            for (number, entries) in &commit.blocks {
                batch.insert(
                    &block_key(partition, *number),
                    crate::block::encode(entries),
                );
            }
            batch.insert(&applied_key(partition), commit.applied.encode());
        }
        Ok(self.db.apply_batch(batch)?)
    }

    /// Puts what was committed onto the disk itself. sled's `flush` alone is no fsync (its issues 1351, 1452).
    ///
    /// # Errors
    /// The disk could not.
    pub fn sync(&self) -> Result<(), StoreError> {
        self.db.flush()?;
        let file = File::open(self.bucket.join("db")).map_err(sled::Error::from)?;
        Ok(file.sync_data().map_err(sled::Error::from)?)
    }
}

/// A database closed a moment ago, here or by a process just killed, may hold its lock a little longer.
fn open_unlocked(bucket: &Path) -> Result<sled::Db, String> {
    let deadline = Instant::now() + LOCK_WITHIN;
    loop {
        match open_db(bucket) {
            Err(words) if is_locked(&words) && Instant::now() < deadline => {
                std::thread::sleep(LOCK_POLL)
            }
            opened => return opened,
        }
    }
}

fn is_locked(words: &str) -> bool {
    words.contains("could not acquire lock")
}

/// sled may panic on a file that a power cut tore: that is a broken database, not a broken program.
fn open_db(bucket: &Path) -> Result<sled::Db, String> {
    let config = sled::Config::new()
        .path(bucket)
        .cache_capacity(CACHE_BYTES)
        .flush_every_ms(None);
    match catch_unwind(AssertUnwindSafe(|| config.open())) {
        Ok(opened) => opened.map_err(|e| e.to_string()),
        Err(_) => Err("sled panicked while opening it".into()),
    }
}

/// Names the log in the directory, or checks the name that is there.
fn claim(data: &Path, topic: &str, log: LogId) -> Result<(), RegistryFailure> {
    let failed = |e: std::io::Error| RegistryFailure::Data {
        path: data.into(),
        words: e.to_string(),
    };
    fs::create_dir_all(data).map_err(failed)?;
    let file = data.join("log");
    let ours = format!("{log} {topic}\n");
    match fs::read_to_string(&file) {
        Ok(found) if found == ours => Ok(()),
        Ok(found) => Err(RegistryFailure::OtherLog {
            path: data.into(),
            topic: topic.into(),
            found: found.trim().into(),
            wanted: log,
        }),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            // Written whole or not at all.
            let partial = data.join("log.partial");
            fs::write(&partial, ours).map_err(failed)?;
            fs::rename(&partial, &file).map_err(failed)
        }
        Err(e) => Err(failed(e)),
    }
}

fn set_aside(bucket: &Path, words: &str) -> Result<(), RegistryFailure> {
    let failed = |e: std::io::Error| RegistryFailure::Data {
        path: bucket.into(),
        words: e.to_string(),
    };
    let aside = (0..)
        .map(|n| bucket.with_extension(format!("broken-{n}")))
        .find(|path| !path.exists())
        .expect("there are more numbers than directories");
    tracing::warn!(
        broken = %bucket.display(), kept_as = %aside.display(), reason = words,
        "the registry's database is not usable; it is set aside and rebuilt from the join log"
    );
    metrics::counter!("rtf_registry_rebuilds_total").increment(1);
    fs::rename(bucket, &aside).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::{Ids, Winner, tests::Model};
    use crate::memory::Memory;
    use proptest::prelude::*;
    use rtf_proto::{Outcome, Token, TopicId};

    const LOG: LogId = TopicId([3; 16]);

    fn place() -> Place {
        Place {
            log: LOG,
            partitions: 1,
            partition: 0,
        }
    }

    fn winner(offset: u64) -> Winner {
        Winner {
            offset,
            token: Token(offset ^ 0xabc),
            outcome: Outcome::Joined,
        }
    }

    fn commit(store: &Store, memory: &mut Memory, next: u64) {
        let blocks = memory.uncommitted().collect();
        store
            .commit(&[PartitionCommit {
                place: &place(),
                applied: Applied {
                    next,
                    anchor: Some((next - 1, 7)),
                },
                blocks,
            }])
            .unwrap();
        memory.committed();
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        /// Commits and reopenings at any point: what is remembered equals a plain map of what was committed.
        #[test]
        fn memory_and_disk_equal_a_map(ops in prop::collection::vec((0u16..400, 0u8..12), 1..600)) {
            let folder = tempfile::tempdir().unwrap();
            let mut store = Store::open(folder.path(), "t", LOG).unwrap();
            let mut memory = Memory::load(0, store.blocks()).unwrap();
            let (mut model, mut saved) = (Model::default(), Model::default());
            let mut saved_next = 0;
            for (offset, (id, op)) in ops.into_iter().enumerate() {
                let (id, offset) = (format!("event-{id}").into_bytes(), offset as u64 + 1);
                let known = Ids::find(&memory, &id).unwrap();
                prop_assert_eq!(known, Ids::find(&model, &id).unwrap());
                if known.is_none() {
                    memory.insert(&id, winner(offset));
                    model.insert(&id, winner(offset));
                }
                match op {
                    0 => {
                        commit(&store, &mut memory, offset + 1);
                        saved = model.clone();
                        saved_next = offset + 1;
                    }
                    1 => {
                        // A crash: what was not committed is gone, the rest is whole.
                        drop((memory, store));
                        store = Store::open(folder.path(), "t", LOG).unwrap();
                        memory = Memory::load(0, store.blocks()).unwrap();
                        model = saved.clone();
                        prop_assert_eq!(store.applied(0).unwrap().next, saved_next);
                    }
                    _ => {}
                }
                prop_assert_eq!(memory.ids(), model.0.len() as u64);
            }
            let mut expected: Vec<u64> = model.0.values().map(|w| w.offset).collect();
            expected.sort_unstable();
            let (mut found, mut hint, mut from) = (Vec::new(), 0, 0);
            loop {
                let offsets = memory.winners_from(from, &mut hint).unwrap();
                let Some(last) = offsets.last() else { break };
                from = last + 1;
                found.extend(offsets);
            }
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn another_logs_directory_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        drop(Store::open(folder.path(), "vacation.joins", LOG).unwrap());
        let refused = Store::open(folder.path(), "vacation.joins", TopicId([4; 16]))
            .err()
            .unwrap()
            .to_string();
        assert!(
            refused.contains(&LOG.to_string()) && refused.contains("[registry].data"),
            "{refused}"
        );
    }

    #[test]
    fn a_torn_database_is_set_aside_and_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), "t", LOG).unwrap();
        let mut memory = Memory::load(0, store.blocks()).unwrap();
        (0..1000u64).for_each(|n| memory.insert(&n.to_le_bytes(), winner(n)));
        commit(&store, &mut memory, 1000);
        store.sync().unwrap();
        drop((memory, store));
        fs::write(folder.path().join("bucket-0/conf"), b"not sled's").unwrap();
        let store = Store::open(folder.path(), "t", LOG).unwrap();
        assert_eq!(store.applied(0).unwrap(), Applied::default());
        assert!(folder.path().join("bucket-0.broken-0").exists());
    }

    #[test]
    fn two_replicas_do_not_share_a_directory() {
        let folder = tempfile::tempdir().unwrap();
        let _first = Store::open(folder.path(), "t", LOG).unwrap();
        let refused = Store::open(folder.path(), "t", LOG)
            .err()
            .unwrap()
            .to_string();
        assert!(refused.contains("another process"), "{refused}");
    }
}
