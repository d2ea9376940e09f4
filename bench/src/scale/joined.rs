//! Pipelines over backlogs, in one process or in several of each role. What a row costs is what further rows cost: a start is not in it.

use crate::backlog::{self, Backlog};
use crate::oracle::{Oracle, sum};
use crate::output::Output;
use crate::scale::curve::{Course, Curve, Run};
use crate::scale::sized::{event_bytes, sized};
use crate::stage::{LOG_PARTITIONS, Stage, Topics, all_match};
use anyhow::Result;
use rtf_synth::{CLICKS, Event, Join, Stream};
use rtf_testing::{Instance, Pipeline, PipelineOptions, Role};

const PARTITIONS: [u32; 5] = [4, 8, 16, 32, 64];
const PROCESSES: [u16; 4] = [1, 2, 3, 4];
const ROW_BYTES: [usize; 5] = [400, 600, 2000, 6000, 20_000];
/// All pairs together are no more bytes than with rows of so many.
const FULL_COUNT_UP_TO: usize = 2000;
/// The roles that have work to do.
const ROLES: [Role; 4] = [
    Role::Registry,
    Role::Joiner,
    Role::Dispatcher,
    Role::Publisher,
];

/// A backlog, and what must come of it.
struct Input {
    topics: Topics,
    oracle: Oracle,
}

/// The same twice, one a tenth of the other.
struct Inputs {
    few: Input,
    all: Input,
}

/// Which processes a pipeline is made of.
#[derive(Clone, Copy)]
enum Shape {
    /// All roles in one.
    Together,
    /// So many of each role; each registry and each joiner holds everything.
    Copies(u16),
    /// So many of each role; registries serve a part of the log each, and joiners hold a part of the primaries.
    Shares(u16),
}

/// How a pipeline is run.
#[derive(Clone, Copy)]
struct Setup {
    log_partitions: u32,
    shape: Shape,
}

const USUAL: Setup = Setup {
    log_partitions: LOG_PARTITIONS,
    shape: Shape::Together,
};

pub fn partitions(pairs: u64, runs: u32) -> Result<Course> {
    let words = format!("`rtf run` over {pairs} clicks and as many queries");
    let labels = PARTITIONS.map(|partitions| format!("{partitions} partitions"));
    let mut course = Course::new(Curve::Partitions, words, labels);
    let setup = |place: usize| Setup {
        log_partitions: PARTITIONS[place],
        ..USUAL
    };
    along(&mut course, pairs, runs, setup)?;
    Ok(course)
}

pub fn processes(pairs: u64, runs: u32) -> Result<Course> {
    apart(Curve::Processes, Shape::Copies, pairs, runs)
}

pub fn shares(pairs: u64, runs: u32) -> Result<Course> {
    apart(Curve::Shares, Shape::Shares, pairs, runs)
}

fn apart(curve: Curve, shape: fn(u16) -> Shape, pairs: u64, runs: u32) -> Result<Course> {
    let words = format!(
        "the roles apart, over {pairs} clicks and as many queries, {LOG_PARTITIONS} partitions"
    );
    let labels = PROCESSES.map(|each| format!("{each} of each role"));
    let mut course = Course::new(curve, words, labels);
    let setup = |place: usize| Setup {
        shape: shape(PROCESSES[place]),
        ..USUAL
    };
    along(&mut course, pairs, runs, setup)?;
    Ok(course)
}

/// The usual data, run in another way at each point.
fn along(course: &mut Course, pairs: u64, runs: u32, setup: impl Fn(usize) -> Setup) -> Result<()> {
    let stage = Stage::open(0)?;
    let inputs = Inputs::prepare(&stage, "usual", pairs, |event| event)?;
    course.turns(runs, |place, name| {
        inputs.measure(&stage, name, setup(place))
    });
    Ok(())
}

pub fn rows(pairs: u64, runs: u32) -> Result<Course> {
    let words = format!(
        "`rtf run` over {pairs} clicks and as many queries, fewer above {FULL_COUNT_UP_TO} B a row, {LOG_PARTITIONS} partitions"
    );
    let labels = ROW_BYTES.map(|bytes| format!("{bytes} B"));
    let mut course = Course::new(Curve::Rows, words, labels);
    let stage = Stage::open(0)?;
    let inputs = ROW_BYTES.map(|bytes| {
        let pairs = pairs * FULL_COUNT_UP_TO.min(bytes) as u64 / bytes as u64;
        Inputs::prepare(&stage, &format!("rows-of-{bytes}"), pairs, |event| {
            sized(event, event_bytes(bytes))
        })
    });
    let inputs: Vec<Inputs> = inputs.into_iter().collect::<Result<_>>()?;
    course.turns(runs, |place, name| {
        let mut run = inputs[place].measure(&stage, name, USUAL)?;
        let (cpu, bytes) = (run.figures[0], run.figures[run.figures.len() - 1]);
        run.figures.insert(1, cpu * 1000.0 / bytes);
        Ok(run)
    });
    Ok(course)
}

impl Input {
    fn prepare(
        stage: &Stage,
        name: &str,
        pairs: u64,
        change: impl Fn(Event) -> Event,
    ) -> Result<Self> {
        let topics = Topics {
            foreign: format!("{name}-clicks"),
            primary: format!("{name}-queries"),
        };
        let events = || all_match(pairs).events().map(&change);
        stage.make_topics(&topics)?;
        stage.send(events(), &topics)?;
        let oracle = Oracle::of(events(), true)?;
        Ok(Self { topics, oracle })
    }

    /// Its rows, topics and files are gone afterwards.
    fn run(&self, stage: &Stage, name: &str, setup: Setup) -> Result<Backlog> {
        let output = Output::redis(&stage.redis, name, setup.log_partitions)?;
        let run = match setup.shape {
            Shape::Together => backlog::measure(stage, output, &self.oracle, || {
                let pipeline = stage.pipeline(name, &self.topics, setup.log_partitions)?;
                Ok(vec![pipeline])
            }),
            Shape::Copies(each) | Shape::Shares(each) => {
                let mut pipeline = self.apart(stage, name, each)?;
                if matches!(setup.shape, Shape::Shares(_)) {
                    share(&mut pipeline, each);
                }
                backlog::measure(stage, output, &self.oracle, || {
                    for role in ROLES {
                        for replica in 0..each {
                            pipeline.start(Instance(role, replica))?;
                        }
                    }
                    Ok(pipeline.take_processes())
                })
            }
        };
        stage.clear(name)?;
        run
    }

    /// A pipeline of so many processes of each role, not started; otherwise as [`Stage::pipeline`] has it.
    fn apart(&self, stage: &Stage, name: &str, each: u16) -> Result<Pipeline> {
        let stream = |stream: Stream, topic: &String| Stream {
            topic: topic.clone().leak(),
            ..stream
        };
        let join = Join {
            name: name.to_owned().leak(),
            foreign: stream(CLICKS.foreign, &self.topics.foreign),
            primary: stream(CLICKS.primary, &self.topics.primary),
            ..CLICKS
        };
        let options = PipelineOptions {
            partitions: LOG_PARTITIONS,
            wait_max: "10m",
            session_timeout: "6s",
            is_cluster: true,
            registries: each,
            joiners: each,
            dispatchers: each,
            publishers: each,
            more_redis: "max_rows = 0\n",
            ..PipelineOptions::new(join)
        };
        Pipeline::new(&options, &stage.kafka.bootstrap(), &stage.redis.url())
    }
}

/// Has registries and joiners share what each would hold alone.
fn share(pipeline: &mut Pipeline, each: u16) {
    let begin = |replica: u16| u32::from(replica) * LOG_PARTITIONS / u32::from(each);
    for replica in 0..each {
        let part = format!("{}-{}", begin(replica), begin(replica + 1) - 1);
        pipeline.set(Instance(Role::Registry, replica), "registry.serves", &part);
        pipeline.set(
            Instance(Role::Joiner, replica),
            "joiner.layout",
            "partitioned",
        );
    }
}

impl Inputs {
    fn prepare(
        stage: &Stage,
        name: &str,
        pairs: u64,
        change: impl Fn(Event) -> Event,
    ) -> Result<Self> {
        eprintln!("preparing {pairs} pairs, and a tenth of them ({name})");
        Ok(Self {
            few: Input::prepare(stage, &format!("{name}-few"), pairs / 10, &change)?,
            all: Input::prepare(stage, name, pairs, &change)?,
        })
    }

    /// In the order of the curve's figures.
    fn measure(&self, stage: &Stage, name: &str, setup: Setup) -> Result<Run> {
        let few = self.few.run(stage, &format!("{name}-few"), setup)?;
        let all = self.all.run(stage, &format!("{name}-all"), setup)?;
        let further = |cpu: fn(&Backlog) -> f64| {
            (cpu(&all) * all.rows - cpu(&few) * few.rows) / (all.rows - few.rows)
        };
        let own = further(|run| run.own_cpu);
        let figures = vec![
            own,
            further(|run| run.kafka_cpu),
            further(|run| run.redis_cpu),
            (few.own_cpu - own) * few.rows / 1e6,
            all.peak_mib,
            all.row_bytes,
        ];
        let faults = sum([few.faults, all.faults]);
        Ok(Run { figures, faults })
    }
}
