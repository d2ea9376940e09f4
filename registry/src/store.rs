//! Blocks and states in sled: a view of the log that can be thrown away.
//!
//! ```text
//! <data>/log                    which log this is a view of: see [`crate::name`]
//! <data>/view/bucket-<ms>/      a sled database per bucket: `b`,partition,block → block; `a`,partition → state
//! <data>/view/sealed-<ms>/      a bucket that does not grow any more, rewritten: see [`crate::sealed`]
//! <data>/view/rejected-<n>      offsets of partition n's events that did not win: see [`crate::rejected`]
//! <data>/view/dead.bucket-<n>/  one on its way out
//! <data>/view/condemned         damage was found while it was read: the next start makes the view anew
//! ```
//!
//! A bucket is a directory of its own, so that forgetting is the removal of a directory (RULE 20). A partition's state is written
//! together with the blocks of the bucket it is in, all or nothing; what it still had to write into the bucket before is on the disk by then.

use crate::age::{Age, BucketId};
use crate::block::{DamagedBlock, Entry};
use crate::database::{Batch, Database};
use crate::error::RegistryFailure;
use crate::lineage::Lineage;
use crate::name::{self, Named, name_of};
use crate::rejected;
use crate::sealed::{Sealed, SealedEntry, Sealer};
use bytes::{Buf, BufMut};
use parking_lot::Mutex;
use roaring::RoaringTreemap;
use rtf_proto::{LogId, Offset, PartitionId};
use rtf_service::crash;
use sled::IVec;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Bytes sled may cache per bucket: blocks are read when a fingerprint hits, which is rare.
const CACHE_BYTES: u64 = 32 << 20;
/// How long to wait for a lock that is being given up.
const LOCK_WITHIN: Duration = Duration::from_secs(3);
const LOCK_POLL: Duration = Duration::from_millis(20);
const VIEW: &str = "view";
const BLOCK: u8 = b'b';
const STATE: u8 = b'a';
const BUCKET_PREFIX: &str = "bucket-";
const SEALED_PREFIX: &str = "sealed-";
const DEAD: &str = "dead";
const CONDEMNED: &str = "condemned";

/// What sled could not do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// sled said so.
    #[error("the registry's database failed: {0}")]
    Sled(#[from] sled::Error),
    /// It gave something else than was written.
    #[error(transparent)]
    Damaged(#[from] DamagedBlock),
    /// Ids that were there are not.
    #[error("bucket {bucket} lacks ids of partition {partition}")]
    Incomplete {
        /// The bucket.
        bucket: BucketId,
        /// Partition of the log.
        partition: PartitionId,
    },
    /// The file system could not.
    #[error("the registry's data: {0}")]
    Io(#[from] io::Error),
    /// sled could not open what is there.
    #[error("the registry's database: {0}")]
    Unusable(String),
    /// sled panicked while reading.
    #[error("the registry's database panicked: {0}")]
    Panicked(String),
    /// It does not have what it must.
    #[error("block {block} of partition {partition} is missing")]
    Missing {
        /// Partition of the log.
        partition: PartitionId,
        /// Block number.
        block: u32,
    },
}

impl StoreError {
    /// Whether the machine refuses, and not the data: a full disk, no more files, no right. The data may be good.
    pub fn is_refusal(&self) -> bool {
        let (Self::Io(error) | Self::Sled(sled::Error::Io(error))) = self else {
            return false;
        };
        use io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
        let kinds = [
            PermissionDenied,
            QuotaExceeded,
            ReadOnlyFilesystem,
            StorageFull,
        ];
        // EIO, ENFILE, EMFILE.
        kinds.contains(&error.kind()) || matches!(error.raw_os_error(), Some(5 | 23 | 24))
    }

    /// Whether what is on disk is not what was written, so that trying again does not help.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Damaged(_) | Self::Incomplete { .. } | Self::Missing { .. } => true,
            Self::Panicked(_) | Self::Sled(sled::Error::Corruption { .. }) => true,
            Self::Sled(sled::Error::ReportableBug(_)) => true,
            // A file that ends early, or is gone.
            Self::Io(error) | Self::Sled(sled::Error::Io(error)) => matches!(
                error.kind(),
                io::ErrorKind::UnexpectedEof | io::ErrorKind::NotFound
            ),
            Self::Sled(_) | Self::Unusable(_) => false,
        }
    }
}

/// How far a partition's log is applied, and what follows from it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct State {
    /// The first offset not yet applied.
    pub next: Offset,
    /// The last record applied: offset and hash. It must be there when the log is opened again.
    pub anchor: Option<(Offset, u32)>,
    /// How old the partition is.
    pub age: Age,
    /// Which ids it keeps, and whose it took over.
    pub lineage: Lineage,
    /// The sum over all winners.
    pub digest: u64,
    /// The log's first offset, when what stood before it is not known and no checkpoint has told it yet. On disk too: else a restart would
    /// make an uninformed replica a ready one.
    pub uninformed: Option<Offset>,
    /// The log's time where it was begun with, ms since 1970; of an uninformed one.
    pub begins_ms: Option<i64>,
    /// It lacked the beginning and was not ready yet: it takes over others' digests.
    pub rebasing: bool,
    /// So many events did not win. What is on disk must name them all.
    pub rejected: u64,
}

impl State {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_u64_le(self.next);
        out.put_u8(self.anchor.is_some().into());
        let (offset, hash) = self.anchor.unwrap_or_default();
        out.put_u64_le(offset);
        out.put_u32_le(hash);
        out.put_u64_le(self.digest);
        out.put_u8(self.uninformed.is_some().into());
        out.put_u64_le(self.uninformed.unwrap_or_default());
        out.put_u8(self.begins_ms.is_some().into());
        out.put_i64_le(self.begins_ms.unwrap_or_default());
        out.put_u8(self.rebasing.into());
        out.put_u64_le(self.rejected);
        self.age.encode(&mut out);
        self.lineage.encode(&mut out);
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
        let has_anchor = body.try_get_u8().ok()? != 0;
        let anchor = (body.try_get_u64_le().ok()?, body.try_get_u32_le().ok()?);
        let digest = body.try_get_u64_le().ok()?;
        let is_uninformed = body.try_get_u8().ok()? != 0;
        let first = body.try_get_u64_le().ok()?;
        let has_begun = body.try_get_u8().ok()? != 0;
        let begins_ms = body.try_get_i64_le().ok()?;
        Some(Self {
            next,
            anchor: has_anchor.then_some(anchor),
            digest,
            uninformed: is_uninformed.then_some(first),
            begins_ms: has_begun.then_some(begins_ms),
            rebasing: body.try_get_u8().ok()? != 0,
            rejected: body.try_get_u64_le().ok()?,
            age: Age::take(&mut body)?,
            lineage: Lineage::take(&mut body)?,
        })
    }
}

/// What a partition had on disk.
pub struct Loaded {
    /// Its state.
    pub state: State,
    /// Offsets of its events that did not win.
    pub rejected: RoaringTreemap,
}

/// Reading blocks; cheap to clone.
#[derive(Clone)]
pub struct Blocks(Database);

impl Blocks {
    /// One block's bytes.
    pub fn read(&self, partition: PartitionId, block: u32) -> Result<IVec, StoreError> {
        self.0
            .get(&block_key(partition, block))?
            .ok_or(StoreError::Missing { partition, block })
    }

    /// All blocks of a partition, by number.
    pub fn all(
        &self,
        partition: PartitionId,
    ) -> impl Iterator<Item = Result<(u32, IVec), StoreError>> {
        let mut prefix = vec![BLOCK];
        prefix.put_u32(partition);
        self.0.scan(&prefix).map(|item| {
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

fn state_key(partition: PartitionId) -> [u8; 5] {
    let mut key = [STATE; 5];
    key[1..].copy_from_slice(&partition.to_be_bytes());
    key
}

/// What one commit writes of one partition.
pub struct PartitionCommit<'a> {
    /// The partition.
    pub partition: PartitionId,
    /// Blocks that changed, with their bucket and number.
    pub blocks: Vec<(BucketId, u32, &'a [Entry])>,
    /// Offsets of events that did not win.
    pub rejected: &'a [Offset],
    /// The bucket its state stands in on disk; with this commit it may go on in another.
    pub left: Option<BucketId>,
    /// The state with all of these.
    pub state: State,
}

/// The buckets of a replica.
pub struct Store {
    data: PathBuf,
    buckets: Mutex<BTreeMap<BucketId, Database>>,
    sealed: Mutex<BTreeMap<BucketId, Sealed>>,
    /// Held for as long as the directory is ours.
    _lock: File,
}

impl Store {
    /// Opens the directory for this log; what is broken is moved aside, and an empty one begun.
    ///
    /// # Errors
    /// A directory of another log, or one that cannot be used at all.
    pub fn open(data: &Path, topic: &str, log: LogId) -> Result<Self, RegistryFailure> {
        let lock = claim(data, topic, log)?;
        let store = Self {
            data: data.into(),
            buckets: Mutex::default(),
            sealed: Mutex::default(),
            _lock: lock,
        };
        match store.open_buckets() {
            Ok(()) => Ok(store),
            Err(error) => store.made_anew(&error),
        }
    }

    /// Makes it anew because of this error, unless that says nothing of the data.
    ///
    /// # Errors
    /// The machine refuses.
    pub fn made_anew(self, error: &StoreError) -> Result<Self, RegistryFailure> {
        if error.is_refusal() {
            return Err(self.failed(error));
        }
        self.rebuild(&error.to_string())
    }

    fn view(&self) -> PathBuf {
        self.data.join(VIEW)
    }

    fn path_of(&self, bucket: BucketId) -> PathBuf {
        self.view().join(format!("{BUCKET_PREFIX}{bucket}"))
    }

    fn sealed_path(&self, bucket: BucketId) -> PathBuf {
        self.view().join(format!("{SEALED_PREFIX}{bucket}"))
    }

    fn open_buckets(&self) -> Result<(), StoreError> {
        fs::create_dir_all(self.view())?;
        if let Ok(words) = fs::read_to_string(self.view().join(CONDEMNED)) {
            return Err(StoreError::Unusable(words));
        }
        for entry in fs::read_dir(self.view())? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(DEAD) {
                fs::remove_dir_all(entry.path())?;
            }
        }
        for id in self.found(SEALED_PREFIX)? {
            let path = self.sealed_path(id);
            if !Sealed::is_finished(&path) {
                fs::remove_dir_all(path)?;
                continue;
            }
            self.sealed.lock().insert(id, Sealed::open(&path)?);
            // It was sealed, but its first form not removed any more.
            if self.path_of(id).exists() {
                self.remove(&self.path_of(id))?;
            }
        }
        for id in self.found(BUCKET_PREFIX)? {
            self.bucket(id)?;
        }
        Ok(())
    }

    fn found(&self, prefix: &str) -> Result<Vec<BucketId>, StoreError> {
        let mut found = Vec::new();
        for entry in fs::read_dir(self.view())? {
            let name = entry?.file_name();
            let id = name.to_str().and_then(|name| name.strip_prefix(prefix));
            found.extend(id.and_then(|id| id.parse::<BucketId>().ok()));
        }
        Ok(found)
    }

    /// A bucket's sealed form, if it has one.
    pub fn sealed(&self, id: BucketId) -> Option<Sealed> {
        self.sealed.lock().get(&id).cloned()
    }

    /// The newest bucket that takes nothing more.
    pub fn newest_sealed(&self) -> Option<BucketId> {
        self.sealed.lock().keys().max().copied()
    }

    /// Open buckets before this one, oldest first.
    pub fn open_before(&self, id: BucketId) -> Vec<BucketId> {
        self.buckets.lock().range(..id).map(|(id, _)| *id).collect()
    }

    /// Rewrites a bucket that does not grow any more. `None` when `go_on` said no; nothing has changed then. What reads the open form goes on
    /// reading it until [`close`](Self::close).
    ///
    /// # Errors
    /// A block that is damaged, or a disk that could not.
    pub fn seal(
        &self,
        id: BucketId,
        partitions: u32,
        go_on: impl Fn() -> bool,
    ) -> Result<Option<Sealed>, StoreError> {
        if self.sealed(id).is_some() {
            return Err(StoreError::Unusable(format!(
                "bucket {id} is sealed already"
            )));
        }
        let path = self.sealed_path(id);
        let blocks = self.bucket(id)?;
        if path.exists() {
            fs::remove_dir_all(&path)?;
        }
        let mut sealer = Sealer::create(&path)?;
        for partition in 0..partitions {
            if !go_on() {
                drop(sealer);
                fs::remove_dir_all(&path)?;
                return Ok(None);
            }
            let mut entries = Vec::new();
            for block in blocks.all(partition) {
                let block = crate::block::decode(&block?.1)?;
                entries.extend(block.into_iter().map(|entry| SealedEntry {
                    id: entry.id,
                    offset: entry.winner.offset,
                    outcome: entry.winner.outcome,
                }));
            }
            sealer.partition(partition, entries)?;
        }
        crash::point("registry-before-sealed");
        sealer.finish()?;
        crash::point("registry-after-sealed");
        let sealed = Sealed::open(&path)?;
        self.sealed.lock().insert(id, sealed.clone());
        Ok(Some(sealed))
    }

    /// Removes the open form of a sealed bucket. Nobody reads it any more.
    ///
    /// # Errors
    /// The file system could not.
    pub fn close(&self, id: BucketId) -> Result<(), StoreError> {
        let db = self.buckets.lock().remove(&id);
        // sled writes once more when its last handle goes.
        drop(db);
        crash::point("registry-before-removal");
        Ok(self.remove(&self.path_of(id))?)
    }

    /// Removes a directory of the view: under another name first, so that half of one is never taken for a whole one.
    fn remove(&self, path: &Path) -> io::Result<()> {
        let dead = free_beside(&self.view().join(DEAD), "bucket");
        fs::rename(path, &dead)?;
        fs::remove_dir_all(dead)
    }

    /// Throws everything away, keeping it beside for whoever wants to know why, and begins anew.
    ///
    /// # Errors
    /// The directory cannot be moved or made.
    pub fn rebuild(self, words: &str) -> Result<Self, RegistryFailure> {
        self.buckets.lock().clear();
        self.sealed.lock().clear();
        set_aside(&self.view(), words)?;
        self.open_buckets().map_err(|error| self.failed(&error))?;
        Ok(self)
    }

    /// The data directory cannot be used.
    pub fn failed(&self, error: &StoreError) -> RegistryFailure {
        RegistryFailure::data(&self.data, error)
    }

    /// A reader of a bucket, which is made unless it is there.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn bucket(&self, id: BucketId) -> Result<Blocks, StoreError> {
        let mut buckets = self.buckets.lock();
        if let Some(db) = buckets.get(&id) {
            return Ok(Blocks(db.clone()));
        }
        let db = Database::open(&self.path_of(id), CACHE_BYTES)?;
        buckets.insert(id, db.clone());
        Ok(Blocks(db))
    }

    /// The newest state of a partition, and what it rejected.
    ///
    /// # Errors
    /// A value that was not written here.
    pub fn load(&self, partition: PartitionId) -> Result<Loaded, StoreError> {
        let state = self.state(partition)?;
        let rejected = rejected::load(&self.rejected_path(partition), state.rejected)?;
        Ok(Loaded {
            rejected: rejected.ok_or(StoreError::Incomplete {
                bucket: state.age.current(),
                partition,
            })?,
            state,
        })
    }

    /// The newest state of a partition.
    ///
    /// # Errors
    /// A value that was not written here.
    pub fn state(&self, partition: PartitionId) -> Result<State, StoreError> {
        let mut newest = State::default();
        for db in self.buckets.lock().values() {
            if let Some(bytes) = db.get(&state_key(partition))? {
                let state = State::decode(&bytes).ok_or(DamagedBlock)?;
                if state.next >= newest.next {
                    newest = state;
                }
            }
        }
        Ok(newest)
    }

    /// Partitions that have a state, in order.
    ///
    /// # Errors
    /// sled could not.
    pub fn partitions(&self) -> Result<BTreeSet<PartitionId>, StoreError> {
        let mut found = BTreeSet::new();
        for db in self.buckets.lock().values() {
            for pair in db.scan(&[STATE]) {
                let (key, _) = pair?;
                let number = key.get(1..).and_then(|number| number.try_into().ok());
                found.insert(u32::from_be_bytes(number.ok_or(DamagedBlock)?));
            }
        }
        Ok(found)
    }

    fn rejected_path(&self, partition: PartitionId) -> PathBuf {
        self.view().join(format!("rejected-{partition}"))
    }

    /// Writes what changed. A partition's state never gets to disk before what it says of older buckets and of rejected records.
    ///
    /// # Errors
    /// sled or the file system could not.
    pub fn commit(&self, partitions: &[PartitionCommit<'_>]) -> Result<(), StoreError> {
        let (mut older, mut current) = (BTreeMap::new(), BTreeMap::new());
        for commit in partitions {
            let partition = commit.partition;
            rejected::append(&self.rejected_path(partition), commit.rejected)?;
            let now = commit.state.age.current();
            if let Some(left) = commit.left.filter(|left| *left < now) {
                // sled may still hold back what was written there.
                older.entry(left).or_default();
            }
            for (bucket, number, entries) in &commit.blocks {
                let batches = if *bucket == now {
                    &mut current
                } else {
                    &mut older
                };
                let batch: &mut Batch = batches.entry(*bucket).or_default();
                let key = block_key(partition, *number).to_vec();
                batch.push((key, crate::block::encode(entries)));
            }
            let batch = current.entry(now).or_default();
            batch.push((state_key(partition).to_vec(), commit.state.encode()));
        }
        for (bucket, batch) in older {
            self.bucket(bucket)?.0.apply(batch)?;
            self.sync_bucket(bucket)?;
        }
        crash::point("registry-between-buckets");
        for (bucket, batch) in current {
            self.bucket(bucket)?.0.apply(batch)?;
        }
        Ok(())
    }

    /// Puts what was committed onto the disk itself.
    ///
    /// # Errors
    /// The disk could not.
    pub fn sync(&self) -> Result<(), StoreError> {
        // Before the states that count them.
        for partition in self.partitions()? {
            rejected::sync(&self.rejected_path(partition))?;
        }
        let buckets: Vec<BucketId> = self.buckets.lock().keys().copied().collect();
        buckets.into_iter().try_for_each(|id| self.sync_bucket(id))
    }

    fn sync_bucket(&self, id: BucketId) -> Result<(), StoreError> {
        let Some(db) = self.buckets.lock().get(&id).cloned() else {
            return Ok(());
        };
        db.sync(&self.path_of(id))
    }

    /// Removes the buckets before this one; nobody reads them any more.
    ///
    /// # Errors
    /// The file system could not.
    pub fn remove_before(&self, oldest: BucketId) -> Result<Vec<BucketId>, StoreError> {
        let mut removed = self.open_before(oldest);
        removed.iter().try_for_each(|id| self.close(*id))?;
        let kept = self.sealed.lock().split_off(&oldest);
        let dead = std::mem::replace(&mut *self.sealed.lock(), kept);
        for (id, sealed) in dead {
            drop(sealed);
            self.remove(&self.sealed_path(id))?;
            removed.push(id);
        }
        Ok(removed)
    }

    /// Bytes on disk.
    pub fn bytes(&self) -> u64 {
        let open: u64 = self.buckets.lock().values().map(Database::bytes).sum();
        let sealed = self.sealed.lock();
        open + sealed.values().map(Sealed::disk_bytes).sum::<u64>()
    }
}

/// Takes the directory for this process, and names the log in it, or checks the name that is there.
fn claim(data: &Path, topic: &str, log: LogId) -> Result<File, RegistryFailure> {
    let failed = |error| RegistryFailure::data(data, error);
    let lock = lock(data).map_err(failed)?;
    let lock = lock.ok_or_else(|| {
        let words =
            "another process uses this directory; each registry needs its own [registry].data";
        RegistryFailure::data(data, words)
    })?;
    let ours = name_of(log, topic);
    match name::read(data).map_err(failed)? {
        Named::Log(found) if found == ours => return Ok(lock),
        Named::Log(found) => {
            return Err(RegistryFailure::OtherLog {
                path: data.into(),
                topic: topic.into(),
                found,
                wanted: log,
            });
        }
        Named::Nothing => {}
        Named::Damaged => {
            let view = data.join(VIEW);
            if view.exists() {
                set_aside(
                    &view,
                    "the name of the log that it was made from is damaged",
                )?;
            }
        }
    }
    name::write(data, &ours).map_err(failed)?;
    Ok(lock)
}

/// Has the next start set the view aside and make it anew, for this reason.
pub fn condemn(data: &Path, words: &str) {
    let marked = fs::write(data.join(VIEW).join(CONDEMNED), words);
    tracing::error!(
        reason = words,
        ?marked,
        "the registry's view of the log is damaged; the next start makes it anew"
    );
}

/// The lock, unless another process keeps it. One that was just killed may hold it a little longer.
pub fn lock(data: &Path) -> io::Result<Option<File>> {
    fs::create_dir_all(data)?;
    let file = File::create(data.join("lock"))?;
    let deadline = Instant::now() + LOCK_WITHIN;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                std::thread::sleep(LOCK_POLL)
            }
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

/// A name beside a path that nothing has yet.
pub fn free_beside(path: &Path, word: &str) -> PathBuf {
    (0..)
        .map(|n| path.with_extension(format!("{word}-{n}")))
        .find(|path| !path.exists())
        .expect("there are more numbers than files")
}

fn set_aside(view: &Path, words: &str) -> Result<(), RegistryFailure> {
    let aside = free_beside(view, "broken");
    tracing::warn!(
        broken = %view.display(), kept_as = %aside.display(), reason = words,
        "the registry's database is not usable; it is set aside and rebuilt from the join log"
    );
    metrics::counter!("rtf_registry_rebuilds_total").increment(1);
    fs::rename(view, &aside).map_err(|error| RegistryFailure::data(view, error))
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
