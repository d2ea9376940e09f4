//! How far a verification has come: files in a directory, from which another process can go on.

use super::IdHash;
use super::ids::Seen;
use super::places::Accepted;
use super::report::Report;
use super::spill::{Buckets, Spill};
use crate::parked::{Committed, Positions};
use anyhow::{Context, ensure};
use rtf_proto::PartitionId;
use rtf_registry::Age;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

const PROGRESS: &str = "progress.json";

/// What is being verified: another's progress is of no use.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Subject {
    /// Which rtf made the files.
    pub version: String,
    /// The foreign topic's id.
    pub foreign: String,
    /// The log's id.
    pub log: String,
    /// Partitions of the log.
    pub partitions: u32,
    /// The share that is looked at, percent.
    pub sample: u8,
}

/// What is done.
#[derive(Clone, Serialize, Deserialize)]
pub struct Progress {
    /// Of what.
    pub subject: Subject,
    /// How far the dispatchers' group had read when it began.
    pub committed: Committed,
    /// How far the retry topics were read then.
    pub retry: Positions,
    /// Families of the log that are looked at.
    pub families: Vec<usize>,
    /// Partitions of the foreign topic that were read.
    pub foreign_done: BTreeSet<PartitionId>,
    /// Whether the retry topics were read.
    pub parked_done: bool,
    /// Families of the log that were read and compared.
    pub families_done: BTreeSet<usize>,
    /// What their partitions remember, encoded.
    pub ages: Vec<Vec<u8>>,
    /// What came out so far.
    pub report: Report,
    /// Entries of the files that count.
    entries: Entries,
}

#[derive(Clone, Default, Serialize, Deserialize)]
struct Entries {
    foreign: Vec<u64>,
    parked: Vec<u64>,
    resolved: Vec<u64>,
}

/// The files.
pub struct Work {
    /// `None`: they have no names, and go with this process.
    directory: Option<PathBuf>,
    /// What is done.
    pub progress: Progress,
    /// Records of the foreign topic.
    pub foreign: Buckets<Seen>,
    /// Events that are parked.
    pub parked: Buckets<IdHash>,
    /// Events that have an outcome.
    pub resolved: Buckets<IdHash>,
    /// What was accepted in the partition of the log that is being read.
    pub accepted: Spill<Accepted>,
}

impl Progress {
    /// Nothing is done.
    pub fn begin(
        subject: Subject,
        committed: Committed,
        retry: Positions,
        families: Vec<usize>,
    ) -> Self {
        Self {
            subject,
            committed,
            retry,
            families,
            foreign_done: BTreeSet::new(),
            parked_done: false,
            families_done: BTreeSet::new(),
            ages: Vec::new(),
            report: Report::default(),
            entries: Entries::default(),
        }
    }

    /// What the log's partitions remember.
    ///
    /// # Errors
    /// It is damaged.
    pub fn ages(&self) -> anyhow::Result<Vec<Age>> {
        let age = |bytes: &Vec<u8>| Age::take(&mut &bytes[..]).context("a damaged age");
        self.ages.iter().map(age).collect()
    }
}

impl Work {
    /// Goes on with what is in `directory`, or begins with what `begin` says.
    ///
    /// # Errors
    /// The disk's, what `begin` says, or the directory is of another verification.
    pub fn open(
        directory: Option<&Path>,
        subject: &Subject,
        begin: impl FnOnce() -> anyhow::Result<Progress>,
    ) -> anyhow::Result<Self> {
        let found = directory.map(|directory| read(directory, subject));
        let progress = match found.transpose()?.flatten() {
            Some(progress) => progress,
            None => begin()?,
        };
        let entries = &progress.entries;
        let opened = (|| {
            Ok::<_, std::io::Error>((
                Buckets::open(directory, "foreign", &entries.foreign)?,
                Buckets::open(directory, "parked", &entries.parked)?,
                Buckets::open(directory, "resolved", &entries.resolved)?,
                Spill::temporary()?,
            ))
        })();
        let place = directory.map_or_else(std::env::temp_dir, Path::to_path_buf);
        let (foreign, parked, resolved, accepted) =
            opened.with_context(|| format!("files in {}", place.display()))?;
        Ok(Self {
            directory: directory.map(Path::to_path_buf),
            progress,
            foreign,
            parked,
            resolved,
            accepted,
        })
    }

    /// From here on another process can go on.
    ///
    /// # Errors
    /// The disk's.
    pub fn save(&mut self) -> anyhow::Result<()> {
        self.progress.entries = Entries {
            foreign: self.foreign.flush()?,
            parked: self.parked.flush()?,
            resolved: self.resolved.flush()?,
        };
        let Some(directory) = &self.directory else {
            return Ok(());
        };
        let partial = directory.join("progress.partial");
        let written = fs::write(&partial, serde_json::to_vec(&self.progress)?)
            .and_then(|()| File::open(&partial)?.sync_all())
            .and_then(|()| fs::rename(&partial, directory.join(PROGRESS)));
        written.with_context(|| partial.display().to_string())
    }

    /// All is done: the files go, and the directory if nothing else is in it.
    pub fn remove(self) {
        let Some(directory) = &self.directory else {
            return;
        };
        // First what names the others.
        fs::remove_file(directory.join(PROGRESS)).ok();
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let stem = name.split_once('.').map(|(stem, _)| stem);
            if matches!(stem, Some("foreign" | "parked" | "resolved" | "progress")) {
                fs::remove_file(entry.path()).ok();
            }
        }
        fs::remove_dir(directory).ok();
    }
}

fn read(directory: &Path, subject: &Subject) -> anyhow::Result<Option<Progress>> {
    let words = || directory.display().to_string();
    fs::create_dir_all(directory).with_context(words)?;
    let path = directory.join(PROGRESS);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let is_empty = fs::read_dir(directory)
                .with_context(words)?
                .next()
                .is_none();
            ensure!(
                is_empty,
                "{}: --state wants an empty directory, or one that an earlier verification left",
                directory.display()
            );
            return Ok(None);
        }
        Err(error) => return Err(error).with_context(|| path.display().to_string()),
    };
    let progress: Progress = serde_json::from_slice(&bytes)
        .with_context(|| format!("{}: remove the directory to begin anew", path.display()))?;
    ensure!(
        progress.subject == *subject,
        "{}: this was begun for {:?}, and now it is {subject:?}; name another directory, or remove this one",
        directory.display(),
        progress.subject
    );
    Ok(Some(progress))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject() -> Subject {
        Subject {
            version: "1".into(),
            foreign: "f".into(),
            log: "l".into(),
            partitions: 4,
            sample: 100,
        }
    }

    fn begin() -> anyhow::Result<Progress> {
        Ok(Progress::begin(
            subject(),
            vec![(0, Some(7))],
            Vec::new(),
            vec![0, 1],
        ))
    }

    #[test]
    fn another_process_goes_on_where_the_last_one_saved() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("state");
        let mut work = Work::open(Some(&directory), &subject(), begin).unwrap();
        (0..500u128).for_each(|n| work.resolved.push(&(n << 70)).unwrap());
        work.progress.families_done.insert(1);
        work.progress.report.lost("something".into());
        work.save().unwrap();
        (0..10u128).for_each(|n| work.resolved.push(&(n << 80)).unwrap());
        work.progress.families_done.insert(0);
        drop(work);
        let other = || panic!("it goes on");
        let mut work = Work::open(Some(&directory), &subject(), other).unwrap();
        assert_eq!(work.progress.families_done, BTreeSet::from([1]));
        assert_eq!(work.progress.report.lost, 1);
        let count: usize = work
            .resolved
            .files()
            .map(|file| file.entries().unwrap().count())
            .sum();
        assert_eq!(count, 500);
        work.remove();
        assert!(!directory.exists());
    }

    #[test]
    fn it_goes_on_with_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("state");
        let mut work = Work::open(Some(&directory), &subject(), begin).unwrap();
        work.save().unwrap();
        let other = Subject {
            sample: 10,
            ..subject()
        };
        let error = Work::open(Some(&directory), &other, begin).err().unwrap();
        assert!(error.to_string().contains("another directory"), "{error}");
        let strange = folder.path().join("strange");
        fs::create_dir(&strange).unwrap();
        fs::write(strange.join("letter"), "dear").unwrap();
        let error = Work::open(Some(&strange), &subject(), begin).err().unwrap();
        assert!(error.to_string().contains("empty directory"), "{error}");
    }
}
