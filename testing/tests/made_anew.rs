//! The foreign topic is deleted and made anew, and grows beyond the old positions before anybody has read it: nothing of it is skipped.

use anyhow::{Result, ensure};
use rtf_kafka::{Cluster, Sender};
use rtf_proto::naming;
use rtf_synth::{Join, Stream};
use rtf_testing::{Instance, Pipeline, PipelineOptions, Progress, Role, Servers, wait_until};
use std::time::Duration;

const WISHES: Join = Join {
    name: "wishes",
    foreign: Stream::of("wishes", "/key"),
    primary: Stream::of("gifts", "/key"),
    order_by: None,
};
const PARTITIONS: u32 = 2;
const ALL: Instance = Instance(Role::All, 0);
const OLD: u64 = 400;
/// More than before in each partition: the old positions are within the new topic.
const NEW: u64 = 1_500;
const KEYS: u64 = 10;
const READY_WITHIN: Duration = Duration::from_secs(60);
const DONE_WITHIN: Duration = Duration::from_secs(90);
/// The topic's id is asked for every five seconds.
const NOTICED_WITHIN: Duration = Duration::from_secs(30);

struct Scene {
    pipeline: Pipeline,
    progress: Progress,
    servers: Servers,
}

impl Scene {
    /// All of the old topic is done.
    fn open() -> Result<Self> {
        let servers = Servers::start()?;
        servers.create_topics(&WISHES, PARTITIONS)?;
        let mut scene = Self {
            pipeline: servers.pipeline(&PipelineOptions::new(WISHES))?,
            progress: servers.progress(WISHES)?,
            servers,
        };
        scene.pipeline.start_ready(ALL, READY_WITHIN)?;
        scene.send("gifts", "gift", KEYS)?;
        scene.send("wishes", "old", OLD)?;
        scene.progress.wait_rows(OLD, DONE_WITHIN)?;
        scene.progress.wait_committed(DONE_WITHIN)?;
        Ok(scene)
    }

    fn send(&self, topic: &str, name: &str, count: u64) -> Result<()> {
        // A producer of its own: it must not know the old topic.
        let sender = Sender::open(self.servers.checker(WISHES).settings())?;
        for number in 0..count {
            let value = format!(r#"{{"id":"{name} {number}","key":"k{}"}}"#, number % KEYS);
            let partition = u32::try_from(number % u64::from(PARTITIONS))?;
            sender.send(topic, Some(partition), None, Some(value.as_bytes()))?;
        }
        Ok(sender.flush(DONE_WITHIN)?)
    }

    fn make_anew(&self) -> Result<()> {
        self.servers.kafka.make_anew("wishes", PARTITIONS, &[])
    }

    /// Everything of both topics is joined, once.
    fn joined(mut self) -> Result<()> {
        self.progress.wait_rows(OLD + NEW, DONE_WITHIN)?;
        self.progress.wait_committed(DONE_WITHIN)?;
        let rows = self.progress.rows()?;
        ensure!(rows == OLD + NEW, "{rows} rows");
        self.pipeline.stop(ALL)
    }
}

#[test]
#[ignore = "needs real servers: ./test runs it"]
fn a_topic_that_is_made_anew_while_its_dispatcher_stands_still_is_read_from_its_beginning()
-> Result<()> {
    let mut scene = Scene::open()?;
    scene.pipeline.process(ALL)?.sigstop()?;
    scene.make_anew()?;
    scene.send("wishes", "new", NEW)?;
    scene.pipeline.process(ALL)?.sigcont()?;
    scene.joined()
}

/// A dispatcher that had nothing to read since would commit its old positions again and again, and whoever comes after it began there.
#[test]
#[ignore = "needs real servers: ./test runs it"]
fn positions_in_a_topic_that_was_made_anew_are_void() -> Result<()> {
    let mut scene = Scene::open()?;
    scene.make_anew()?;
    let cluster = Cluster::connect(scene.servers.checker(WISHES).settings())?;
    let group = naming::dispatcher_group(WISHES.name);
    wait_until("positions at the beginning", NOTICED_WITHIN, || {
        let committed = cluster.committed(&group, "wishes").ok()?;
        let positions: Vec<_> = committed.iter().map(|(_, position)| *position).collect();
        (positions == [Some(0); PARTITIONS as usize]).then_some(())
    })?;
    scene.pipeline.kill9(ALL)?;
    scene.send("wishes", "new", NEW)?;
    scene.pipeline.start_ready(ALL, READY_WITHIN)?;
    scene.joined()
}
