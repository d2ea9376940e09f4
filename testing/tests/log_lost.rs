//! A log that lost what it had: a replica that starts from nothing learns from a checkpoint, or refuses; one that runs on a log made anew stops.

use anyhow::{Result, ensure};
use rtf_kafka::Cluster;
use rtf_proto::naming::log_topic;
use rtf_synth::{CLICKS, ClicksParams, Share, Tally};
use rtf_testing::{Instance, PipelineOptions, Role, Scene, pause};
use std::time::Duration;

const ALL: Instance = Instance(Role::All, 0);
const PARTITIONS: u32 = 4;
const READY_WITHIN: Duration = Duration::from_secs(60);
const ENDS_WITHIN: Duration = Duration::from_secs(60);
/// Buckets of a second, so checkpoints every few.
const HORIZON: &str = "12s";
const CHECKPOINTS_WITHIN: Duration = Duration::from_secs(4);
const FORGOTTEN_WITHIN: Duration = Duration::from_secs(90);

/// A scene in which all is done.
struct Done {
    scene: Scene,
    tally: Tally,
}

impl Done {
    /// Some events, all joined, and some time after them.
    fn open() -> Result<Self> {
        let options = PipelineOptions {
            wait_max: "3s",
            horizon: HORIZON,
            partitions: PARTITIONS,
            ..PipelineOptions::new(CLICKS)
        };
        let clicks = ClicksParams {
            count: 2000,
            per_second: 1000.try_into()?,
            late: Share::NONE,
            orphans: Share::NONE,
            ..ClicksParams::default()
        };
        let mut scene = Scene::open(&options, clicks)?;
        scene.pipeline.start_ready(ALL, READY_WITHIN)?;
        let tally = scene.load()?.finish()?;
        scene.drained(&tally)?;
        Ok(Self { scene, tally })
    }

    /// Removes the log's records, but for the last `kept` of each partition.
    fn cut(&self, kept: u64) -> Result<()> {
        let cluster = Cluster::connect(self.scene.checker.settings())?;
        let topic = log_topic(CLICKS.name);
        let cut = |partition| -> Result<_> {
            let (_, end) = cluster.offsets(&topic, partition)?;
            Ok((partition, end.saturating_sub(kept)))
        };
        let below: Vec<_> = (0..PARTITIONS).map(cut).collect::<Result<_>>()?;
        self.scene.servers.kafka.delete_records(&topic, &below)
    }

    /// What it says when it ends, which it must do with a failure.
    fn last_words(&mut self) -> Result<String> {
        let process = self.scene.pipeline.process(ALL)?;
        let status = process.wait(ENDS_WITHIN)?;
        ensure!(status.code() == Some(1), "it ended with {status}");
        process.log()
    }
}

#[test]
#[ignore = "needs real servers: ./test runs it"]
fn a_replica_from_nothing_learns_from_a_checkpoint_or_refuses() -> Result<()> {
    let mut done = Done::open()?;
    // Retention takes only what is forgotten, and a checkpoint says so.
    done.scene.pipeline.wait_forgotten(ALL, FORGOTTEN_WITHIN)?;
    pause(CHECKPOINTS_WITHIN);
    done.scene.pipeline.stop(ALL)?;
    done.cut(12)?;
    done.scene.pipeline.delete_registry_data(0)?;
    done.scene.pipeline.start_ready(ALL, READY_WITHIN)?;
    let rows = done.scene.progress.rows()?;
    ensure!(
        rows == done.tally.joins,
        "{rows} rows, of {} before",
        done.tally.joins
    );
    done.scene.pipeline.stop(ALL)?;

    done.cut(0)?;
    done.scene.pipeline.delete_registry_data(0)?;
    done.scene.pipeline.start(ALL)?;
    let words = done.last_words()?;
    ensure!(
        words.contains("holds no checkpoint") && words.contains("clicks.joins"),
        "{words}"
    );
    // A supervisor that starts it again changes nothing.
    pause(Duration::from_secs(1));
    done.scene.pipeline.start(ALL)?;
    let words = done.last_words()?;
    ensure!(words.contains("holds no checkpoint"), "{words}");
    Ok(())
}

/// Whoever does not know ids that others still remember must not answer for them, whatever a checkpoint tells.
#[test]
#[ignore = "needs real servers: ./test runs it"]
fn a_replica_that_lacks_what_others_remember_refuses() -> Result<()> {
    let mut done = Done::open()?;
    done.scene.pipeline.stop(ALL)?;
    done.cut(6)?;
    done.scene.pipeline.delete_registry_data(0)?;
    done.scene.pipeline.start(ALL)?;
    let words = done.last_words()?;
    let told = "holds no checkpoint that tells all of what was resolved before";
    ensure!(words.contains(told), "{words}");
    Ok(())
}

#[test]
#[ignore = "needs real servers: ./test runs it"]
fn a_log_that_is_made_anew_stops_the_registry() -> Result<()> {
    let mut done = Done::open()?;
    done.scene.servers.kafka.make_anew(
        &log_topic(CLICKS.name),
        PARTITIONS,
        &[
            ("message.timestamp.type", "LogAppendTime"),
            ("max.message.bytes", "8388608"),
        ],
    )?;
    let words = done.last_words()?;
    ensure!(words.contains("clicks.joins"), "{words}");
    // Not silently on the next start either.
    done.scene.pipeline.start(ALL)?;
    let words = done.last_words()?;
    ensure!(
        words.contains("clicks.joins") && words.contains("[registry].data"),
        "{words}"
    );
    Ok(())
}
