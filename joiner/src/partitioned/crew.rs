//! The thread that is a member of the group, and starts and ends a reading thread for each partition it is given. Decides nothing of a join.

use super::member::Member;
use super::parts::Parts;
use crate::event::EventReader;
use crate::handle::Shared;
use crate::role::{OnReadiness, Readiness};
use crate::tail::Loader;
use crate::{Group, JoinerFailure, Options};
use rtf_kafka::{Cluster, GroupOptions, GroupReader, Isolation, Polled, Settings, TopicInfo};
use rtf_proto::PartitionId;
use rtf_proto::client::ranges;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// A look at the group takes so long; a stop is noticed after it.
const POLL: Duration = Duration::from_millis(100);
/// How often Kafka is asked again when it does not answer.
const RETRY_EVERY: Duration = Duration::from_secs(2);

type Read = Result<(), JoinerFailure>;

/// The readers of the partitions held.
pub(crate) struct Crew {
    options: Options,
    group: Group,
    settings: Settings,
    parts: Arc<Parts>,
    on_readiness: OnReadiness,
    readers: BTreeMap<PartitionId, Reader>,
    /// Those of partitions that were let go; each ends within a poll.
    ending: BTreeMap<PartitionId, JoinHandle<Read>>,
    told: Option<Readiness>,
    was_ready: bool,
}

struct Reader {
    part: Arc<Shared>,
    thread: JoinHandle<Read>,
}

impl Crew {
    pub fn new(
        options: &Options,
        group: &Group,
        settings: &Settings,
        parts: Arc<Parts>,
        on_readiness: OnReadiness,
    ) -> Self {
        Self {
            options: options.clone(),
            group: group.clone(),
            settings: settings.clone(),
            parts,
            on_readiness,
            readers: BTreeMap::new(),
            ending: BTreeMap::new(),
            told: None,
            was_ready: false,
        }
    }

    /// Holds what the group gives until the joiner stops; `found` hears of the topic once it is there.
    pub fn run(mut self, found: impl FnOnce(TopicInfo)) -> Read {
        let Some(info) = self.find_topic()? else {
            return Ok(());
        };
        self.parts.found(info.partitions);
        found(info);
        let mut reader = self.join_group()?;
        let mut result = Ok(());
        while !self.parts.stop.is_cancelled() && result.is_ok() {
            match reader.poll(POLL) {
                // The group says who reads; the readers read.
                Polled::Record(record) => self.pause(&reader, record.partition()),
                Polled::Failed(error) if error.is_fatal() => {
                    tracing::warn!(group = self.group.name, %error, "the group of joiners is joined anew");
                    self.let_go_all();
                    reader = self.join_group()?;
                }
                Polled::Failed(error) => {
                    tracing::debug!(group = self.group.name, %error, "trouble with the group of joiners");
                }
                Polled::EndOfPartition(_) | Polled::Idle => {}
            }
            let given = reader.events().given();
            result = self.follow(&given.clone().unwrap_or_default());
            self.tell(given.is_some());
        }
        // In order, so that others need not wait for the session to end.
        self.let_go_all();
        reader.close();
        for thread in std::mem::take(&mut self.ending).into_values() {
            // How a reader ends that was let go is of no interest.
            let _ = thread.join();
        }
        result
    }

    /// Waits for Kafka; `None` when the joiner stops before Kafka answers.
    fn find_topic(&self) -> Result<Option<TopicInfo>, JoinerFailure> {
        let cluster = Cluster::connect(&self.settings)?;
        let topic = &self.options.topic;
        while !self.parts.stop.is_cancelled() {
            match cluster.topic(topic) {
                Ok(Some(info)) => return Ok(Some(info)),
                Ok(None) => {
                    return Err(JoinerFailure::TopicMissing {
                        topic: topic.clone(),
                        bootstrap: self.settings.bootstrap.clone(),
                    });
                }
                Err(error) => {
                    (self.on_readiness)(Readiness::NotReady(error.to_string()));
                    tracing::warn!(topic, %error, "the primary topic cannot be read yet; trying again");
                    std::thread::sleep(RETRY_EVERY);
                }
            }
        }
        Ok(None)
    }

    fn join_group(&self) -> Result<GroupReader<Member>, JoinerFailure> {
        let options = GroupOptions {
            topic: self.options.topic.clone(),
            group: self.group.name.clone(),
            session_timeout: self.group.session_timeout,
            isolation: Isolation::ReadCommitted,
            instance_id: None,
        };
        let member = Member::new(&self.options.topic, self.parts.clone());
        Ok(GroupReader::open(&self.settings, &options, member)?)
    }

    fn pause(&self, reader: &GroupReader<Member>, partition: PartitionId) {
        if let Err(error) = reader.pause(&[partition]) {
            tracing::debug!(group = self.group.name, partition, %error, "could not be paused");
        }
    }

    /// Gives each partition a reader that the group gives to this joiner, and takes it from the others.
    fn follow(&mut self, given: &BTreeSet<PartitionId>) -> Read {
        // One that was taken and given back in between is begun anew.
        let is_gone = |partition: &PartitionId, reader: &Reader| {
            !given.contains(partition) || reader.part.stop.is_cancelled()
        };
        let gone = self.readers.iter().filter(|(p, reader)| is_gone(p, reader));
        for partition in gone.map(|(p, _)| *p).collect::<Vec<_>>() {
            self.let_go(partition);
        }
        self.look_after()?;
        for partition in given {
            if !self.readers.contains_key(partition) && self.parts.broken().is_none() {
                self.begin(*partition)?;
            }
        }
        self.parts.share_memory()
    }

    fn begin(&mut self, partition: PartitionId) -> Read {
        let (options, part) = self.parts.take(partition);
        let reader = EventReader::new(&options)?;
        let loader = Loader::new(
            &options,
            &self.settings,
            reader,
            part.clone(),
            Arc::new(|_| {}),
        );
        let before = self.ending.remove(&partition);
        let read = move || {
            // Two never hold one partition here.
            let _ = before.map(JoinHandle::join);
            loader.run(|_| {})
        };
        let thread = std::thread::Builder::new().name(format!("primary tail {partition}"));
        let thread = thread
            .spawn(read)
            .map_err(|error| broke(error.to_string()))?;
        self.readers.insert(partition, Reader { part, thread });
        Ok(())
    }

    fn let_go(&mut self, partition: PartitionId) {
        self.parts.let_go(partition);
        if let Some(reader) = self.readers.remove(&partition) {
            reader.part.stop.cancel();
            self.ending.insert(partition, reader.thread);
        }
    }

    fn let_go_all(&mut self) {
        for partition in self.readers.keys().copied().collect::<Vec<_>>() {
            self.let_go(partition);
        }
    }

    /// A reader that ends by itself has failed. If it found that the topic is not cut by its keys, a joiner that has never been ready refuses to start;
    /// one that was goes on without an answer, so that nobody takes its partitions over and finds the same.
    fn look_after(&mut self) -> Read {
        let ended = self
            .readers
            .iter()
            .filter(|(_, reader)| reader.thread.is_finished());
        for partition in ended.map(|(p, _)| *p).collect::<Vec<_>>() {
            let Some(Reader { part, thread }) = self.readers.remove(&partition) else {
                continue;
            };
            part.stop.cancel();
            match thread.join() {
                Ok(Ok(())) => {}
                Ok(Err(failure)) if failure.breaks_layout() && self.was_ready => {
                    self.parts.break_down(&failure);
                }
                Ok(Err(failure)) => return Err(failure),
                Err(_) => return Err(broke("it panicked".into())),
            }
        }
        Ok(())
    }

    /// Says when it is ready, and when not any more.
    fn tell(&mut self, is_member: bool) {
        let unread: BTreeSet<PartitionId> = self.parts.unread().into_iter().collect();
        let now = match self.parts.broken() {
            Some(words) => Readiness::NotReady(words),
            None if !is_member => {
                Readiness::NotReady(format!("joining the group `{}`", self.group.name))
            }
            None if unread.is_empty() => Readiness::Ready,
            None => Readiness::NotReady(format!(
                "reading topic `{}`, partitions {}",
                self.options.topic,
                ranges(&unread)
            )),
        };
        let held = self.parts.held().len();
        let ready = match self.parts.broken() {
            Some(_) => 0,
            None => held - unread.len().min(held),
        };
        metrics::gauge!("rtf_joiner_partitions").set(held as f64);
        metrics::gauge!("rtf_joiner_partitions_ready").set(ready as f64);
        self.was_ready |= now == Readiness::Ready && !self.readers.is_empty();
        if self.told.as_ref() != Some(&now) {
            (self.on_readiness)(now.clone());
            self.told = Some(now);
        }
    }
}

fn broke(words: String) -> JoinerFailure {
    JoinerFailure::Thread {
        thread: "primary tail",
        words,
    }
}
