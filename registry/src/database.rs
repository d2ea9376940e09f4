//! A bucket's keys and values: a sled database, with what has to be known about it (RULE 18).

#[cfg(feature = "simulation")]
use crate::simulated::Bucket;
use crate::store::StoreError;
use rtf_service::thread::words;
use sled::IVec;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long to wait for a lock that is being given up.
const LOCK_WITHIN: Duration = Duration::from_secs(3);
const LOCK_POLL: Duration = Duration::from_millis(20);

/// Keys and values, to be written all or nothing.
pub type Batch = Vec<(Vec<u8>, Vec<u8>)>;

/// An open database; cheap to clone.
#[derive(Clone)]
pub enum Database {
    Sled(sled::Db),
    /// In memory, with a disk below it that forgets.
    #[cfg(feature = "simulation")]
    Simulated(Bucket),
}

type Pair = Result<(IVec, IVec), StoreError>;

impl Database {
    /// Opens the database at `path`, with a cache of so many bytes.
    ///
    /// # Errors
    /// It is not usable, or the machine refuses.
    pub fn open(path: &Path, cache_bytes: u64) -> Result<Self, StoreError> {
        #[cfg(feature = "simulation")]
        if let Some(bucket) = Bucket::open(path)? {
            return Ok(Self::Simulated(bucket));
        }
        let config = sled::Config::new().cache_capacity(cache_bytes);
        open(path, config).map(Self::Sled)
    }

    /// The value of a key.
    ///
    /// # Errors
    /// The database could not.
    pub fn get(&self, key: &[u8]) -> Result<Option<IVec>, StoreError> {
        match self {
            Self::Sled(db) => Ok(db.get(key)?),
            #[cfg(feature = "simulation")]
            Self::Simulated(bucket) => Ok(bucket.get(key)),
        }
    }

    /// All pairs whose keys begin so, in order.
    pub fn scan(&self, prefix: &[u8]) -> Box<dyn Iterator<Item = Pair>> {
        match self {
            Self::Sled(db) => Box::new(db.scan_prefix(prefix).map(|pair| Ok(pair?))),
            #[cfg(feature = "simulation")]
            Self::Simulated(bucket) => Box::new(bucket.scan(prefix).into_iter().map(Ok)),
        }
    }

    /// Writes all of it or nothing.
    ///
    /// # Errors
    /// The database could not.
    pub fn apply(&self, batch: Batch) -> Result<(), StoreError> {
        match self {
            Self::Sled(db) => {
                let mut whole = sled::Batch::default();
                for (key, value) in batch {
                    whole.insert(key, value);
                }
                Ok(db.apply_batch(whole)?)
            }
            #[cfg(feature = "simulation")]
            Self::Simulated(bucket) => {
                bucket.write(batch);
                Ok(())
            }
        }
    }

    /// Puts what was written onto the disk itself: sled's `flush` alone is no fsync on Linux (its issues 1351, 1452).
    ///
    /// # Errors
    /// The disk could not.
    pub fn sync(&self, path: &Path) -> Result<(), StoreError> {
        match self {
            Self::Sled(db) => {
                db.flush()?;
                Ok(File::open(path.join("db"))?.sync_data()?)
            }
            #[cfg(feature = "simulation")]
            Self::Simulated(bucket) => {
                bucket.sync();
                Ok(())
            }
        }
    }

    /// Bytes on disk.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Sled(db) => db.size_on_disk().unwrap_or(0),
            #[cfg(feature = "simulation")]
            Self::Simulated(_) => 0,
        }
    }
}

/// Opens the database at `path`. A database closed a moment ago may hold its lock a little longer.
///
/// # Errors
/// It is not usable, or the machine refuses.
fn open(path: &Path, config: sled::Config) -> Result<sled::Db, StoreError> {
    let config = config.path(path).flush_every_ms(None);
    let unusable = |words: &str| StoreError::Unusable(format!("{}: {words}", path.display()));
    let deadline = Instant::now() + LOCK_WITHIN;
    loop {
        // sled may panic on a file that a power cut tore: that is a broken database, not a broken program.
        let opened = catch_unwind(AssertUnwindSafe(|| config.open()));
        let Ok(opened) = opened else {
            return Err(unusable("sled panicked while opening it"));
        };
        match opened.map_err(StoreError::Sled) {
            Err(error) if is_locked(&error) && Instant::now() < deadline => {
                std::thread::sleep(LOCK_POLL);
            }
            Err(error) if !error.is_refusal() => return Err(unusable(&error.to_string())),
            opened => return opened,
        }
    }
}

fn is_locked(error: &StoreError) -> bool {
    error.to_string().contains("could not acquire lock")
}

/// A panic of sled's while it reads damaged pages, as an error.
///
/// # Errors
/// Its own, or the panic.
pub fn guarded<T>(read: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    // What is read is shared behind locks that do not poison, and reading changes nothing.
    catch_unwind(AssertUnwindSafe(read))
        .unwrap_or_else(|panic| Err(StoreError::Panicked(words(panic.as_ref()))))
}
