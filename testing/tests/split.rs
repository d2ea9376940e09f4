//! The join log is split while everything runs: by two operators at once, with a replica dead, and with the one that does it killed. Nobody waits for it, and
//! each event still ends exactly once.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rtf_kafka::Cluster;
use rtf_proto::control::Control;
use rtf_proto::naming;
use rtf_proto::record::{Content, decode};
use rtf_synth::{CLICKS, ClicksParams, Tally};
use rtf_testing::{
    Instance, Load, Operator, PipelineOptions, Role, Running, Scene, Stillness, TopicReader, pause,
    replica_status, seed, wait_until,
};
use serde_json::Value;

const PAIRS: u64 = 90_000;
const PAIRS_PER_SECOND: u32 = 3_000;
/// Decides the load and the moments of the kills.
const SEED: u64 = 6;
/// What the log begins with.
const ROOTS: u32 = 4;
/// What two operators ask for at once.
const TWICE: u32 = 2 * ROOTS;
/// What is asked for while a replica is dead.
const FOUR_TIMES: u32 = 4 * ROOTS;
/// What is asked for of a replica that is killed at it, each with whether the other one is dead too and cannot finish it.
const KILLED_AT: [(u32, bool); 3] = [(8 * ROOTS, true), (16 * ROOTS, false), (32 * ROOTS, true)];
/// A split is over within this, and the command that asks for it; so some kills hit it, and some what comes before or after.
const KILL_WITHIN_MS: u64 = 400;
/// Longer than no replica runs, or an event would be given up for good reason.
const WAIT_MAX: &str = "20s";

/// So long rows may stay away while the log is split: what is promised, and as much again for each of what a busy machine may be late with.
const STILL_AT_MOST: Duration = Duration::from_secs(1);
const LATE: Duration = Duration::from_secs(2);
/// Watched before and after a split too.
const CALM: Duration = Duration::from_secs(2);

const READY_WITHIN: Duration = Duration::from_secs(60);
const MOVES_WITHIN: Duration = Duration::from_secs(60);
const SPLIT_WITHIN: Duration = Duration::from_secs(90);
const AGREED_WITHIN: Duration = Duration::from_secs(30);

const FIRST: Instance = Instance(Role::Registry, 0);
const SECOND: Instance = Instance(Role::Registry, 1);
const DISPATCHER: Instance = Instance(Role::Dispatcher, 0);
const RUNNING: [Instance; 6] = [
    FIRST,
    SECOND,
    Instance(Role::Joiner, 0),
    DISPATCHER,
    Instance(Role::Publisher, 0),
    Instance(Role::Web, 0),
];

#[test]
#[ignore = "needs real servers: ./test runs it"]
fn each_event_ends_once_though_the_log_is_split_under_it() -> Result<()> {
    let mut stage = Stage::start()?;
    let load = stage.scene.load()?;
    stage.moves("the load began", &load)?;
    stage.what_does_not_fit_is_refused()?;
    stage.two_operators_at_once(&load)?;
    stage.a_replica_is_dead(&load)?;
    stage.the_one_that_does_it_is_killed(&load)?;

    let tally = load.finish()?;
    stage.ended_once(&tally)?;
    stage.a_replica_begins_anew()?;
    let checked = stage.scene.replayed(DISPATCHER)?;
    stage.scene.verified(&checked, &tally)?;
    stage.agreed()?;
    stage.stopped()
}

struct Stage {
    scene: Scene,
    random: ChaCha8Rng,
    /// Partitions of the log.
    partitions: u32,
    begun: Instant,
}

/// How far the log was split, by its own records.
#[derive(Default)]
struct Steps {
    /// When each parent was split, ms since 1970.
    epochs: BTreeMap<u32, i64>,
    /// How long after its parent each child was born, ms.
    births: BTreeMap<u32, i64>,
}

impl Stage {
    fn start() -> Result<Self> {
        let options = PipelineOptions {
            is_cluster: true,
            partitions: ROOTS,
            wait_max: WAIT_MAX,
            ..PipelineOptions::new(CLICKS)
        };
        let clicks = ClicksParams {
            seed: seed(SEED)?,
            count: PAIRS,
            per_second: PAIRS_PER_SECOND.try_into()?,
            ..ClicksParams::default()
        };
        let mut scene = Scene::open(&options, clicks)?;
        scene.pipeline.start_all(&RUNNING, READY_WITHIN)?;
        Ok(Self {
            scene,
            random: ChaCha8Rng::seed_from_u64(seed(SEED)?),
            partitions: ROOTS,
            begun: Instant::now(),
        })
    }

    fn operator(&self) -> Operator<'_> {
        Operator(&self.scene.pipeline)
    }

    fn what_does_not_fit_is_refused(&self) -> Result<()> {
        let operator = self.operator();
        let split = |partitions| ["split", "--partitions", partitions];
        operator.refuses(&split("6"), "6 is not a multiple of the 4 partitions")?;
        operator.refuses(&split("2"), "cannot have fewer")?;
        let planned = operator.run(&["split", "--partitions=8", "--dry-run"])?;
        ensure!(planned.code() == 0, "{}", planned.output);
        let words = "could be split from 4 to 8";
        ensure!(planned.output.contains(words), "{}", planned.output);
        self.has_partitions(ROOTS)
    }

    fn has_partitions(&self, partitions: u32) -> Result<()> {
        let cluster = Cluster::connect(self.scene.checker.settings())?;
        let topic = cluster.topic(&naming::log_topic(CLICKS.name))?;
        let found = topic.context("the log exists")?.partitions;
        ensure!(found == partitions, "{found} partitions, not {partitions}");
        Ok(())
    }

    /// Each asks another replica.
    fn two_operators_at_once(&mut self, load: &Load) -> Result<()> {
        let calm = self.still_while(|_| {
            pause(CALM);
            Ok(())
        })?;
        let split = self.still_while(|stage| {
            let operators = [0, 1].map(|replica| stage.asks(replica, TWICE));
            for operator in operators {
                is_split(operator?, TWICE)?;
            }
            pause(CALM);
            Ok(())
        })?;
        ensure!(!load.is_finished(), "the load is over: nothing is shown");
        let steps = self.steps(TWICE)?;
        let late = steps.births.values().max().context("there are children")?;
        self.say(&format!(
            "longest time without a row: {calm:?} before the split, {split:?} during it; a child was born {late} ms after its parent's epoch at the latest"
        ));
        ensure!(split < STILL_AT_MOST + LATE, "no row for {split:?}");
        self.grown(TWICE, load)
    }

    /// The longest time without a row meanwhile.
    fn still_while(&self, does: impl FnOnce(&Self) -> Result<()>) -> Result<Duration> {
        let stillness = Stillness::watch(self.scene.servers.progress(CLICKS)?)?;
        does(self)?;
        stillness.longest()
    }

    /// An operator at work.
    fn asks(&self, replica: u16, partitions: u32) -> Result<Running> {
        let endpoint = self.operator().endpoint(replica);
        let partitions = partitions.to_string();
        let arguments = ["split", "--partitions", &partitions, "--json"];
        let to = ["--endpoint", &endpoint];
        let pipeline = &self.scene.pipeline;
        pipeline.spawn_rtf("registry", &[arguments.as_slice(), &to].concat())
    }

    /// It comes back to a log that is another one.
    fn a_replica_is_dead(&mut self, load: &Load) -> Result<()> {
        self.scene.pipeline.kill9(SECOND)?;
        is_split(self.asks(0, FOUR_TIMES)?, FOUR_TIMES)?;
        self.moves("split without a replica", load)?;
        self.scene.pipeline.start_ready(SECOND, READY_WITHIN)?;
        self.grown(FOUR_TIMES, load)
    }

    /// Where it has got to then, nobody knows; asked again, it is finished.
    fn the_one_that_does_it_is_killed(&mut self, load: &Load) -> Result<()> {
        for (partitions, is_alone) in KILLED_AT {
            if is_alone {
                self.scene.pipeline.kill9(SECOND)?;
            }
            let operator = self.asks(0, partitions)?;
            let after = Duration::from_millis(self.random.random_range(0..KILL_WITHIN_MS));
            pause(after);
            self.scene.pipeline.kill9(FIRST)?;
            let interrupted = operator.finish(SPLIT_WITHIN)?;
            let steps = self.steps(partitions)?;
            self.say(&format!(
                "killed after {after:?}: {} epochs and {} births, the operator ended with {}",
                steps.epochs.len(),
                steps.births.len(),
                interrupted.code()
            ));
            self.scene.pipeline.start_ready(FIRST, READY_WITHIN)?;
            if is_alone {
                self.scene.pipeline.start_ready(SECOND, READY_WITHIN)?;
            }
            is_split(self.asks(0, partitions)?, partitions)?;
            self.grown(partitions, load)?;
        }
        Ok(())
    }

    /// How far a split to so many partitions is.
    fn steps(&self, count: u32) -> Result<Steps> {
        let topic = naming::log_topic(CLICKS.name);
        let mut log = TopicReader::open(self.scene.checker.settings(), &topic)?;
        let mut steps = Steps::default();
        let mut births = BTreeMap::new();
        log.read_to_end(|record| {
            let at = (record.partition(), record.timestamp_ms());
            match decode(record.key(), record.value())?.content {
                Content::Control(Control::Epoch { partitions }) if partitions == count => {
                    steps.epochs.entry(at.0).or_insert(at.1);
                }
                Content::Control(Control::Born { parent, .. }) => {
                    births.entry(at.0).or_insert((parent, at.1));
                }
                _ => {}
            }
            Ok(())
        })?;
        let of_split = births.into_iter().filter(|(child, _)| *child >= count / 2);
        steps.births = of_split
            .filter_map(|(child, (parent, born))| Some((child, born - steps.epochs.get(&parent)?)))
            .collect();
        Ok(steps)
    }

    /// The split is done for all to see, and work goes on.
    fn grown(&mut self, partitions: u32, load: &Load) -> Result<()> {
        self.partitions = partitions;
        self.has_partitions(partitions)?;
        self.moves(&format!("split to {partitions}"), load)?;
        let pipeline = &self.scene.pipeline;
        wait_until("both replicas know it", AGREED_WITHIN, || {
            let knows = |replica| {
                let status = replica_status(pipeline, replica).ok()?;
                let mut served = status.served.iter();
                let is_whole = status.roots == ROOTS
                    && status.partitions == partitions
                    && served.len() == partitions as usize
                    && served.all(|served| served.count == partitions);
                is_whole.then_some(())
            };
            knows(0).and_then(|()| knows(1))
        })
    }

    /// Waits for more rows; a load that is over makes no more.
    fn moves(&mut self, when: &str, load: &Load) -> Result<()> {
        let progress = &mut self.scene.progress;
        let before = progress.rows()?;
        wait_until(when, MOVES_WITHIN, || {
            let rows = progress.rows();
            let moved = rows.map(|rows| rows > before || load.is_finished());
            moved.map(|moved| moved.then_some(())).transpose()
        })??;
        let load = if load.is_finished() { "over" } else { "on" };
        self.say(&format!("{when}, the load is {load}"));
        Ok(())
    }

    fn say(&mut self, what: &str) {
        let at = self.begun.elapsed().as_secs_f64();
        let rows = self.scene.progress.rows().unwrap_or_default();
        eprintln!("{at:6.1} s, {rows} rows: {what}");
    }

    fn ended_once(&mut self, tally: &Tally) -> Result<()> {
        self.scene.drained(tally)?;
        self.say("drained");
        let checked = self.scene.check()?;
        self.say(&format!("{checked:?}"));
        self.scene.verified(&checked, tally)?;
        self.agreed()
    }

    /// From nothing but the log, it comes to the same.
    fn a_replica_begins_anew(&mut self) -> Result<()> {
        self.scene.pipeline.stop(SECOND)?;
        self.scene.pipeline.delete_registry_data(1)?;
        self.scene.pipeline.start_ready(SECOND, READY_WITHIN)?;
        self.say("a replica has begun anew");
        self.agreed()
    }

    /// Both replicas decided alike, in every partition.
    fn agreed(&self) -> Result<()> {
        let mut last = String::new();
        let agreed = wait_until("the replicas agree", AGREED_WITHIN, || {
            let digest = self.operator().run(&["digest", "--json"]).ok()?;
            last = digest.output.clone();
            let digest = digest.done().ok()?;
            let partitions = digest["partitions"].as_array()?.len();
            let agree = digest["agree"] == true && partitions == self.partitions as usize;
            agree.then_some(())
        });
        agreed.context(last)
    }

    fn stopped(&mut self) -> Result<()> {
        for instance in RUNNING.into_iter().rev() {
            self.scene.pipeline.stop(instance)?;
        }
        self.say("stopped");
        Ok(())
    }
}

/// The operator is told that the log has so many partitions.
fn is_split(operator: Running, partitions: u32) -> Result<()> {
    let answer: Value = operator.finish(SPLIT_WITHIN)?.done()?;
    let replica = &answer["replicas"][0];
    let is_split = replica["ok"] == true && replica["partitions"] == partitions;
    ensure!(is_split, "not split to {partitions}: {answer}");
    Ok(())
}
