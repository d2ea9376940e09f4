//! A replica without threads, and the disk below it: for the simulation, and only in builds with the feature `simulation`.
//!
//! All of a replica is the real one but for who calls it: where `run` has the tail and the housekeeping on threads of their own, here they are
//! tasks that take turns. Buckets lie in memory instead of in sled; what was not synced is lost with the [power](Disk::cut_power).

use crate::database::Batch;
use crate::error::RegistryFailure;
use crate::keeper::{self, Keeper};
use crate::replica::{Replica, append_again, barriers};
use crate::store::StoreError;
use crate::tailer::Tailer;
use parking_lot::Mutex;
use sled::IVec;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The longest between two looks at the log.
const POLL: Duration = Duration::from_millis(500);

impl Replica {
    /// As [`run`](Self::run). What it is dropped with is as lost as after `kill -9`.
    ///
    /// # Errors
    /// As there.
    pub async fn run_simulated(
        self,
        ready: impl FnOnce(),
        shutdown: CancellationToken,
    ) -> Result<(), RegistryFailure> {
        let Self {
            shared,
            mut tailer,
            keeper,
            again,
        } = self;
        let stopped = tokio::select! {
            biased;
            ended = tail(&mut tailer, shared.topic.clone()) => ended,
            ended = keep(keeper) => ended,
            failure = shared.failed() => Err(failure),
            () = append_again(shared.clone(), again) => Ok(()),
            () = async { barriers(&shared).await; ready(); std::future::pending().await } => Ok(()),
            () = shutdown.cancelled() => Ok(()),
        };
        shared.stop();
        stopped.and_then(|()| tailer.end())
    }
}

async fn tail(tailer: &mut Tailer, topic: String) -> Result<(), RegistryFailure> {
    loop {
        tailer.turn()?;
        rtf_kafka::simulated::rest(&topic, POLL).await;
    }
}

async fn keep(mut keeper: Keeper) -> Result<(), RegistryFailure> {
    let never = CancellationToken::new();
    loop {
        keeper.round(&never)?;
        tokio::time::sleep(keeper::EVERY).await;
    }
}

type Pairs = BTreeMap<Vec<u8>, IVec>;

#[derive(Default)]
struct Contents {
    written: Pairs,
    synced: Pairs,
}

/// A bucket's keys and values.
#[derive(Clone, Default)]
pub struct Bucket(Arc<Mutex<Contents>>);

/// The disks of a simulation's replicas; cheap to clone.
#[derive(Clone, Default)]
pub struct Disk(Arc<Mutex<BTreeMap<PathBuf, Bucket>>>);

thread_local! {
    static DISK: RefCell<Option<Disk>> = const { RefCell::new(None) };
}

impl Disk {
    /// From now on the buckets of this thread lie here.
    pub fn use_here(&self) {
        DISK.with(|disk| *disk.borrow_mut() = Some(self.clone()));
    }

    /// What lies below this folder and was not synced is lost, bucket by bucket, if `loses` says so.
    pub fn cut_power(&self, folder: &Path, mut loses: impl FnMut() -> bool) {
        for (_, bucket) in self
            .0
            .lock()
            .iter()
            .filter(|(path, _)| path.starts_with(folder))
        {
            let mut contents = bucket.0.lock();
            if loses() {
                contents.written = contents.synced.clone();
            }
        }
    }
}

impl Disk {
    /// One value of one bucket below this folder is not what was written any more: it ends early, or one of its bits is turned over. `draw` draws a number
    /// below the one it gets. False when there is nothing.
    pub fn tear(&self, folder: &Path, mut draw: impl FnMut(usize) -> usize) -> bool {
        let disk = self.0.lock();
        let below = disk.iter().filter(|(path, _)| path.starts_with(folder));
        let filled: Vec<&Bucket> = below
            .map(|(_, bucket)| bucket)
            .filter(|bucket| !bucket.0.lock().written.is_empty())
            .collect();
        if filled.is_empty() {
            return false;
        }
        let mut contents = filled[draw(filled.len())].0.lock();
        let at = draw(contents.written.len());
        let pair = contents.written.iter().nth(at);
        let (key, value) = pair.expect("there are so many");
        let (key, mut torn) = (key.clone(), value.to_vec());
        let at = draw(torn.len().max(1));
        match torn.get_mut(at) {
            Some(byte) if draw(2) == 0 => *byte ^= 1 << draw(8),
            _ => torn.truncate(at),
        }
        let torn = IVec::from(torn);
        if let Some(synced) = contents.synced.get_mut(&key) {
            *synced = torn.clone();
        }
        contents.written.insert(key, torn);
        true
    }
}

impl Bucket {
    /// The bucket of this folder, which is made unless it is there; none where disks are real.
    pub(crate) fn open(path: &Path) -> Result<Option<Self>, StoreError> {
        let Some(disk) = DISK.with(|disk| disk.borrow().clone()) else {
            return Ok(None);
        };
        let mut buckets = disk.0.lock();
        if !path.exists() {
            std::fs::create_dir_all(path)?;
            buckets.remove(path);
        }
        Ok(Some(buckets.entry(path.into()).or_default().clone()))
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<IVec> {
        self.0.lock().written.get(key).cloned()
    }

    pub(crate) fn scan(&self, prefix: &[u8]) -> Vec<(IVec, IVec)> {
        let contents = self.0.lock();
        let from = contents.written.range(prefix.to_vec()..);
        from.take_while(|(key, _)| key.starts_with(prefix))
            .map(|(key, value)| (IVec::from(key.as_slice()), value.clone()))
            .collect()
    }

    pub(crate) fn write(&self, batch: Batch) {
        let pairs = batch
            .into_iter()
            .map(|(key, value)| (key, IVec::from(value)));
        self.0.lock().written.extend(pairs);
    }

    pub(crate) fn sync(&self) {
        let mut contents = self.0.lock();
        contents.synced = contents.written.clone();
    }
}
