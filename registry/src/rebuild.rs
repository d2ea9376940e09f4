//! For an operator whose replica does not run: setting its view aside, so that the next start makes it anew from the log, and accepting
//! that a log lost its beginning. Knows nothing of what the view holds.

use crate::error::RegistryFailure;
use crate::name::{self, Named, name_of};
use crate::store;
use rtf_kafka::{Cluster, KafkaError, Sender, Settings};
use rtf_proto::control::{Checkpoint, Control};
use rtf_proto::record::{Stamp, encode_control};
use rtf_proto::{Incarnation, LogId, Offset, PartitionId};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

const FLUSH_WITHIN: Duration = Duration::from_secs(30);

/// What the log's topic holds now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Extent {
    /// Which log it is.
    pub log: LogId,
    /// First offset and end, by partition.
    pub offsets: Vec<(Offset, Offset)>,
}

impl Extent {
    /// Asks Kafka; `None` when there is no such topic. Blocking.
    ///
    /// # Errors
    /// Kafka does not answer.
    pub fn ask(settings: &Settings, topic: &str) -> Result<Option<Self>, RegistryFailure> {
        let cluster = Cluster::connect(settings)?;
        let Some(info) = cluster.topic(topic)? else {
            return Ok(None);
        };
        let offsets = (0..info.partitions).map(|partition| cluster.offsets(topic, partition));
        Ok(Some(Self {
            log: info.id,
            offsets: offsets.collect::<Result<_, _>>()?,
        }))
    }

    /// Records that are read when a view is made anew, about: offsets may have gaps.
    pub fn records(&self) -> u64 {
        self.offsets.iter().map(|(first, end)| end - first).sum()
    }

    /// Partitions that lost their beginning, with their end.
    pub fn beheaded(&self) -> Vec<(PartitionId, Offset)> {
        let partitions = (0..).zip(&self.offsets);
        partitions
            .filter(|(_, (first, _))| *first > 0)
            .map(|(partition, (_, end))| (partition, *end))
            .collect()
    }
}

/// A replica's directory, taken while no replica uses it.
pub struct Rebuild {
    moves: Vec<(PathBuf, PathBuf)>,
    /// Held until it is done.
    _lock: Option<File>,
}

impl Rebuild {
    /// Takes the directory and plans; changes nothing. `log` is the topic's present one. Blocking.
    ///
    /// # Errors
    /// A registry runs on the directory, or it cannot be read.
    pub fn plan(data: &Path, topic: &str, log: Option<LogId>) -> Result<Self, RegistryFailure> {
        let failed = |error: io::Error| RegistryFailure::data(data, error);
        if !data.exists() {
            return Ok(Self {
                moves: Vec::new(),
                _lock: None,
            });
        }
        let lock = store::lock(data).map_err(failed)?;
        let lock = lock.ok_or_else(|| {
            RegistryFailure::data(data, "a registry runs on this directory; stop it first")
        })?;
        let mut moves = Vec::new();
        let view = data.join("view");
        let aside = |path: PathBuf| (path.clone(), store::free_beside(&path, "aside"));
        if view.exists() {
            moves.push(aside(view));
        }
        if is_of_another(data, topic, log).map_err(failed)? {
            moves.push(aside(data.join("log")));
        }
        Ok(Self {
            moves,
            _lock: Some(lock),
        })
    }

    /// What is moved, from where to where.
    pub fn moves(&self) -> &[(PathBuf, PathBuf)] {
        &self.moves
    }

    /// Moves it.
    ///
    /// # Errors
    /// The file system could not.
    pub fn execute(&self) -> Result<(), RegistryFailure> {
        let moved = |(from, to): &(PathBuf, PathBuf)| {
            fs::rename(from, to).map_err(|error| RegistryFailure::data(from, error))
        };
        self.moves.iter().try_for_each(moved)
    }
}

/// Whether the directory names a log, and another one than the topic is now.
fn is_of_another(data: &Path, topic: &str, log: Option<LogId>) -> io::Result<bool> {
    Ok(match name::read(data)? {
        Named::Nothing => false,
        Named::Log(found) => log.is_none_or(|log| found != name_of(log, topic)),
        Named::Damaged => true,
    })
}

/// Appends an empty checkpoint to each partition that lost its beginning: whatever was resolved there counts as never resolved, and replicas
/// that start from nothing go on. Replicas that know more learn nothing from it. Blocking.
///
/// # Errors
/// Kafka does not answer, or refuses.
pub fn accept_loss(
    settings: &Settings,
    topic: &str,
    extent: &Extent,
) -> Result<(), RegistryFailure> {
    let refused = |error: rtf_kafka::SendError| KafkaError::Topic {
        topic: topic.into(),
        words: error.to_string(),
    };
    let sender = Sender::open(settings)?;
    let incarnation = Incarnation::fresh();
    let partitions = u32::try_from(extent.offsets.len()).expect("counted in 32 bits before");
    for (sequence, (partition, base)) in (0..).zip(extent.beheaded()) {
        let stamp = Stamp {
            log: extent.log,
            partitions,
            incarnation,
            sequence,
        };
        let checkpoint = Checkpoint {
            base,
            ..Checkpoint::default()
        };
        let mut value = Vec::new();
        encode_control(&stamp, &Control::Checkpoint(checkpoint), &mut value);
        sender
            .send(topic, Some(partition), None, Some(&value))
            .map_err(refused)?;
    }
    Ok(sender.flush(FLUSH_WITHIN).map_err(refused)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rtf_proto::TopicId;

    const LOG: LogId = TopicId([1; 16]);

    fn names(rebuild: &Rebuild) -> Vec<(String, String)> {
        let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
        let moves = rebuild.moves().iter();
        moves.map(|(from, to)| (name(from), name(to))).collect()
    }

    fn plan(data: &Path, log: Option<LogId>) -> Rebuild {
        Rebuild::plan(data, "t.joins", log).unwrap()
    }

    #[test]
    fn the_view_goes_aside_and_the_logs_name_only_when_it_is_another() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        assert!(plan(&data, Some(LOG)).moves().is_empty());
        assert!(!data.exists(), "a plan changes nothing");
        fs::create_dir_all(data.join("view")).unwrap();
        crate::name::write(&data, &name_of(LOG, "t.joins")).unwrap();

        let view = |n: u32| ("view".to_owned(), format!("view.aside-{n}"));
        plan(&data, Some(LOG)).execute().unwrap();
        assert!(!data.join("view").exists() && data.join("view.aside-0").exists());
        assert!(plan(&data, Some(LOG)).moves().is_empty());
        fs::create_dir(data.join("view")).unwrap();
        let log = ("log".to_owned(), "log.aside-0".to_owned());
        for other in [None, Some(TopicId([2; 16]))] {
            assert_eq!(names(&plan(&data, other)), [view(1), log.clone()]);
        }
    }

    #[test]
    fn a_running_registry_keeps_its_directory() {
        let folder = tempfile::tempdir().unwrap();
        let _held = store::lock(folder.path()).unwrap().unwrap();
        let error = Rebuild::plan(folder.path(), "t.joins", Some(LOG)).err();
        let words = error.unwrap().to_string();
        assert!(
            words.contains("a registry runs on this directory"),
            "{words}"
        );
    }

    #[test]
    fn only_partitions_without_their_beginning_need_a_checkpoint() {
        let extent = Extent {
            log: LOG,
            offsets: vec![(0, 10), (7, 9), (0, 0)],
        };
        assert_eq!((extent.records(), extent.beheaded()), (12, vec![(1, 9)]));
    }
}
