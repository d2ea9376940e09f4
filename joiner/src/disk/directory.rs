//! The directory of the event store: who may use it, what in it counts, what is set aside.
//!
//! ```text
//! <data>/lock               held while a joiner runs
//! <data>/events/manifest    written last, renamed into place
//! <data>/events/7.segment   counts only while the manifest names it
//! <data>/events.broken      what could not be used the last time
//! ```

use super::error::{At, DiskError};
use super::hash::Seed;
use super::manifest::{Identity, Manifest};
use super::segment::Segment;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A joiner that was just killed may hold its lock a little longer.
const LOCK_WITHIN: Duration = Duration::from_secs(2);
const LOCK_POLL: Duration = Duration::from_millis(20);
const MANIFEST: &str = "manifest";
/// Its presence says why the next start shall not trust the rest.
const CONDEMNED: &str = "condemned";

/// A directory of this process's own.
#[derive(Debug)]
pub(crate) struct Directory {
    data: PathBuf,
    _lock: File,
}

/// What was found in it; nothing of it in a new one.
pub(crate) struct Opened {
    pub directory: Directory,
    pub manifest: Manifest,
    /// As the manifest lists them.
    pub segments: Vec<Arc<Segment>>,
}

/// What counts: the manifest, and the segments as it lists them.
type Counted = (Manifest, Vec<Arc<Segment>>);

impl Directory {
    /// Takes the directory and opens what counts. What cannot be used is set aside, what is of another topic or of other settings is
    /// removed; then it is empty.
    pub fn open(data: &Path, identity: &Identity) -> Result<Opened, DiskError> {
        let directory = Self {
            data: data.into(),
            _lock: lock(data)?,
        };
        let (manifest, segments) = match directory.read(identity) {
            Ok(Some(found)) => found,
            Ok(None) => (directory.empty(identity)?, Vec::new()),
            Err(error) if error.is_damage() => {
                directory.set_aside(&error.to_string())?;
                (directory.empty(identity)?, Vec::new())
            }
            Err(error) => return Err(error),
        };
        directory.remove_strangers(&manifest)?;
        Ok(Opened {
            directory,
            manifest,
            segments,
        })
    }

    fn read(&self, identity: &Identity) -> Result<Option<Counted>, DiskError> {
        let path = self.view().join(MANIFEST);
        if let Ok(words) = fs::read_to_string(self.view().join(CONDEMNED)) {
            tracing::warn!(
                reason = words,
                "the event store was found damaged while it ran"
            );
            return Err(DiskError::damaged(&path, "what it names was found damaged"));
        }
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).at(&path),
        };
        let manifest = Manifest::decode(&bytes);
        let manifest = manifest.ok_or_else(|| DiskError::damaged(&path, "it is no manifest"))?;
        if manifest.identity != *identity {
            tracing::warn!(
                made_of = ?manifest.identity, wanted = ?identity,
                "the event store was made of another topic or with other settings; it is made anew"
            );
            return Ok(None);
        }
        let open = |listed: &super::manifest::Listed| {
            let path = self.segment(listed.number);
            Segment::open(&path, listed.gone.clone()).map(Arc::new)
        };
        let segments: Result<Vec<_>, _> = manifest.segments.iter().map(open).collect();
        Ok(Some((manifest, segments?)))
    }

    /// Begins anew; what lies there is removed.
    pub fn empty(&self, identity: &Identity) -> Result<Manifest, DiskError> {
        let view = self.view();
        match fs::remove_dir_all(&view) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error).at(&view),
            _ => {}
        }
        fs::create_dir_all(&view).at(&view)?;
        Ok(Manifest {
            identity: identity.clone(),
            seed: Seed::random(),
            positions: Vec::new(),
            segments: Vec::new(),
        })
    }

    /// Where a segment lies.
    pub fn segment(&self, number: u64) -> PathBuf {
        self.view().join(format!("{number}.segment"))
    }

    /// From now on this manifest counts, also after a power cut.
    pub fn commit(&self, manifest: &Manifest) -> Result<(), DiskError> {
        let view = self.view();
        // The names of new segments are on the disk before what names them.
        sync(&view)?;
        let partial = view.join("manifest.partial");
        fs::write(&partial, manifest.encode()).at(&partial)?;
        sync(&partial)?;
        fs::rename(&partial, view.join(MANIFEST)).at(&partial)?;
        sync(&view)
    }

    /// Removes a segment that no manifest names any more; who still reads it goes on reading it.
    pub fn remove(&self, number: u64) {
        let path = self.segment(number);
        if let Err(error) = fs::remove_file(&path) {
            tracing::warn!(path = %path.display(), %error, "an old segment could not be removed; the next start tries again");
        }
    }

    /// Has the next start make everything anew.
    pub fn condemn(&self, words: &str) {
        let marked = fs::write(self.view().join(CONDEMNED), words);
        tracing::error!(
            reason = words,
            ?marked,
            "the event store is damaged; the next start makes it anew"
        );
    }

    fn view(&self) -> PathBuf {
        self.data.join("events")
    }

    /// Keeps what is broken for whoever wants to know why; what was kept before goes.
    fn set_aside(&self, words: &str) -> Result<(), DiskError> {
        let (view, aside) = (self.view(), self.data.join("events.broken"));
        tracing::warn!(
            broken = %view.display(), kept_as = %aside.display(), reason = words,
            "the event store cannot be used; it is set aside and made anew from the primary topic"
        );
        metrics::counter!("rtf_joiner_rebuilds_total").increment(1);
        if aside.exists() {
            fs::remove_dir_all(&aside).at(&aside)?;
        }
        fs::rename(&view, &aside).at(&view)
    }

    /// Segments that were being written or merged when the last joiner ended.
    fn remove_strangers(&self, manifest: &Manifest) -> Result<(), DiskError> {
        let view = self.view();
        for entry in fs::read_dir(&view).at(&view)? {
            let path = entry.at(&view)?.path();
            let is_ours = |listed: &super::manifest::Listed| self.segment(listed.number) == path;
            if path != view.join(MANIFEST) && !manifest.segments.iter().any(is_ours) {
                fs::remove_file(&path).at(&path)?;
            }
        }
        Ok(())
    }
}

fn sync(path: &Path) -> Result<(), DiskError> {
    File::open(path).and_then(|file| file.sync_all()).at(path)
}

fn lock(data: &Path) -> Result<File, DiskError> {
    fs::create_dir_all(data).at(data)?;
    let path = data.join("lock");
    let file = File::create(&path).at(&path)?;
    let deadline = Instant::now() + LOCK_WITHIN;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                std::thread::sleep(LOCK_POLL);
            }
            Err(TryLockError::WouldBlock) => return Err(DiskError::InUse { path: data.into() }),
            Err(TryLockError::Error(error)) => return Err(error).at(&path),
        }
    }
}
