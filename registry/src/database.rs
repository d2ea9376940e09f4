//! Opening and syncing a sled database, with what has to be known about it (RULE 18).

use crate::store::StoreError;
use rtf_service::thread::words;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long to wait for a lock that is being given up.
const LOCK_WITHIN: Duration = Duration::from_secs(3);
const LOCK_POLL: Duration = Duration::from_millis(20);

/// Opens the database at `path`. A database closed a moment ago may hold its lock a little longer.
///
/// # Errors
/// It is not usable, or the machine refuses.
pub fn open(path: &Path, config: sled::Config) -> Result<sled::Db, StoreError> {
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

/// Puts what was written onto the disk itself: sled's `flush` alone is no fsync on Linux (its issues 1351, 1452).
///
/// # Errors
/// The disk could not.
pub fn sync(path: &Path, db: &sled::Db) -> sled::Result<()> {
    db.flush()?;
    Ok(File::open(path.join("db"))?.sync_data()?)
}
