//! How far a running pipeline is: the cheap look, for waiting. What it did is for [`Checker`](crate::Checker) to say.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use redis::Commands;
use rtf_kafka::Cluster;
use rtf_proto::naming;
use rtf_proto::record::{Content, decode};

use crate::reader::TopicReader;
use crate::redis_source;
use crate::{Checker, wait_until};

/// Some events more come within this, under load.
const MORE_WITHIN: Duration = Duration::from_secs(60);

/// Follows the join log, and asks Redis how many rows it has.
pub struct Progress {
    checker: Checker,
    redis: String,
    log: Option<TopicReader>,
    ids: HashSet<Vec<u8>>,
    events: u64,
}

impl Progress {
    /// Of the join that `checker` looks at; `redis` is Redis's URL.
    pub fn new(checker: &Checker, redis: &str) -> Result<Self> {
        Ok(Self {
            checker: checker.clone(),
            redis: redis.into(),
            log: None,
            ids: HashSet::new(),
            events: 0,
        })
    }

    /// How many events are resolved now. None as long as there is no log.
    pub fn resolved(&mut self) -> Result<u64> {
        self.read_log()?;
        Ok(self.ids.len() as u64)
    }

    /// How many records of events the log has now, with those that came after the first of their id.
    pub fn logged_events(&mut self) -> Result<u64> {
        self.read_log()?;
        Ok(self.events)
    }

    /// How many rows Redis has now.
    pub fn rows(&mut self) -> Result<u64> {
        let name = self.checker.join().name;
        let mut rows = 0;
        for mut connection in redis_source::connections(&self.redis)? {
            let streams: Vec<String> = connection.keys(format!("{name}:joined:*"))?;
            for stream in streams {
                rows += connection.xlen::<_, u64>(stream)?;
            }
        }
        Ok(rows)
    }

    /// Waits until so many events are resolved. On failure it says how far it came.
    pub fn wait_resolved(&mut self, events: u64, within: Duration) -> Result<()> {
        self.wait(events, within, "events resolved", Self::resolved)
    }

    /// Waits until more events than that are resolved.
    pub fn wait_more_than(&mut self, events: u64) -> Result<()> {
        wait_until("more events are resolved", MORE_WITHIN, || {
            self.resolved().is_ok_and(|now| now > events).then_some(())
        })
    }

    /// Waits until Redis has so many rows. On failure it says how far it came.
    pub fn wait_rows(&mut self, rows: u64, within: Duration) -> Result<()> {
        self.wait(rows, within, "rows in Redis", Self::rows)
    }

    /// Waits until the dispatchers' group has committed the end of the foreign topic.
    pub fn wait_committed(&mut self, within: Duration) -> Result<()> {
        let cluster = Cluster::connect(self.checker.settings())?;
        let what = "the end of the foreign topic committed";
        self.wait(0, within, what, |progress| progress.uncommitted(&cluster))
    }

    /// Foreign records behind the group's position.
    fn uncommitted(&self, cluster: &Cluster) -> Result<u64> {
        let join = self.checker.join();
        let group = naming::dispatcher_group(join.name);
        let topic = join.foreign.topic;
        let mut behind = 0;
        for (partition, next) in cluster.committed(&group, topic)? {
            let (_, end) = cluster.offsets(topic, partition)?;
            behind += end - next.unwrap_or_default();
        }
        Ok(behind)
    }

    fn wait(
        &mut self,
        wanted: u64,
        within: Duration,
        what: &str,
        count: impl Fn(&mut Self) -> Result<u64>,
    ) -> Result<()> {
        let mut found = 0;
        let begun = Instant::now();
        let waited = wait_until(what, within, || match count(self) {
            Ok(now) => {
                found = now;
                (now == wanted).then_some(Ok(()))
            }
            // A server that is down for the moment is asked again, until the time is over.
            Err(_) if begun.elapsed() < within => None,
            Err(error) => Some(Err(error)),
        });
        waited
            .and_then(|result| result)
            .with_context(|| format!("{what}: {found}, wanted {wanted}"))
    }

    fn read_log(&mut self) -> Result<()> {
        if self.log.is_none() {
            let topic = naming::log_topic(self.checker.join().name);
            if Cluster::connect(self.checker.settings())?
                .topic(&topic)?
                .is_none()
            {
                return Ok(());
            }
            self.log = Some(TopicReader::open(self.checker.settings(), &topic)?);
        }
        let Some(log) = &mut self.log else {
            return Ok(());
        };
        log.read_to_end(|record| {
            if let Ok(decoded) = decode(record.key(), record.value())
                && let Content::Event(event) = decoded.content
            {
                self.events += 1;
                self.ids.insert(event.id.to_vec());
            }
            Ok(())
        })
    }
}
