//! `rtf-bench run`: all contenders over the same data on the same servers, in turns.

mod chart;
pub mod contender;
mod figures;
pub mod paced;
mod report;
mod results;

use crate::backlog::{self, Backlog};
use crate::circumstances;
use crate::oracle::Oracle;
use crate::spread::number;
use crate::stage::{Stage, Topics, all_match};
use anyhow::Result;
use clap::ValueEnum;
use contender::{Contender, Job};
use figures::{Latency, Recovery};
use paced::Load;
use report::Report;
use results::{Pace, Results};
use rtf_synth::Share;
use serde_json::{Value, json};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

/// Pairs in the backlog, unless told otherwise.
const USUAL_EVENTS: u64 = 1_000_000;

/// Kafka is warm for a contender whose run took no less than this share of the Kafka CPU of the one before.
const WARM: f64 = 0.9;
/// Runs to warm it up, at the most.
const WARM_UPS: u64 = 4;
/// Pairs in them, at the most, but for the first run: a long one warms it as well as several short ones.
const WARM_UP_EVENTS: u64 = 4_000_000;

/// Before a latency is counted: what compiles while it runs needs a while.
pub const WARM_UP: Duration = Duration::from_secs(10);
/// How long a load goes on before and after a kill.
const BEFORE_KILL: Duration = Duration::from_secs(10);
const AFTER_KILL: Duration = Duration::from_secs(40);

#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// All contenders, and the tables and the picture written into docs/performance.md
    #[arg(long, conflicts_with = "only")]
    all: bool,
    /// These contenders
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["pass-through", "rtf"])]
    only: Vec<Contender>,
    /// Pairs of click and query in the backlog; 0 leaves it out. Each number but the usual one has a section and a picture of its own in the document
    #[arg(long, default_value_t = USUAL_EVENTS)]
    events: u64,
    /// Everything is measured this often, in turns
    #[arg(long, default_value_t = 3)]
    runs: u32,
    /// Clicks a second of the latency runs; 0 leaves them out
    #[arg(long, value_delimiter = ',', default_values_t = [5000, 10_000, 20_000])]
    rates: Vec<u32>,
    /// The same at so many per cent of what each made of the backlog; 0 leaves them out
    #[arg(long, value_delimiter = ',', default_values_t = [50, 80])]
    shares: Vec<u32>,
    /// Seconds of a latency run, after ten that are not counted
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Clicks a second while a contender is killed; 0 leaves it out
    #[arg(long, default_value_t = 5000)]
    recovery_rate: u32,
    /// Write tables and picture into performance.md and images/peers.svg of this folder [default with --all: docs]
    #[arg(long)]
    docs: Option<PathBuf>,
    /// Also write the figures of each run here
    #[arg(long)]
    json: Option<PathBuf>,
}

const EXAMPLES: &str = "\
What is measured, and how each contender is set up, stands in bench/README.md.

Examples:
  bench/run                                        us beside the limit of the machine
  bench/run --all                                  everybody, three times; takes more than an hour
  bench/run --all --events 100000 --runs 1 --seconds 5 --docs /tmp/docs
                                                   everything once, small, to see that it works
  bench/run --only rtf,flink --rates 0 --shares 0 --recovery-rate 0
                                                   only the backlog, of these two
  bench/run --all --events 5000000 --rates 0 --shares 0 --recovery-rate 0
                                                   a longer backlog, into a section of its own
  RTF_KEEP=1 bench/run …                           keeps the folder with all logs";

/// What is measured of whom, turn after turn.
struct Contest {
    stage: Stage,
    /// Of the backlog: for who does not join, and for who does.
    oracles: [Oracle; 2],
    all: Vec<Results>,
}

pub fn run(args: &Args) -> Result<()> {
    let contenders = if args.all {
        Contender::value_variants().to_vec()
    } else {
        args.only.clone()
    };
    for contender in &contenders {
        contender.build()?;
    }
    let circumstances = circumstances::now("bench/run")?;
    let mut contest = Contest::open(args.events, &contenders)?;
    for turn in 0..args.runs {
        contest.turn(turn, args);
        // Whoever is first once is last the next time.
        contest.all.rotate_left(1);
    }
    let Contest { mut all, .. } = contest;
    all.sort_by_key(|results| contenders.iter().position(|of| *of == results.contender));
    let paces: Vec<Pace> = paces(args).collect();
    let report = Report {
        results: &all,
        events: args.events,
        runs: args.runs,
        seconds: args.seconds,
        paces: &paces,
        recovery_rate: args.recovery_rate,
        circumstances: &circumstances,
    };
    println!("{}", report.markdown());
    if let Some(path) = &args.json {
        let figures: Vec<Value> = all.iter().map(Results::to_json).collect();
        let figures =
            json!({ "events": args.events, "circumstances": circumstances, "contenders": figures });
        std::fs::write(path, format!("{figures:#}\n"))?;
    }
    let default = args.all.then(|| PathBuf::from("docs"));
    if let Some(folder) = args.docs.clone().or(default) {
        report.write(&folder)?;
    }
    Ok(())
}

/// Shares of a backlog that is left out are left out too.
fn paces(args: &Args) -> impl Iterator<Item = Pace> {
    let rates = args.rates.iter().filter_map(|rate| NonZeroU32::new(*rate));
    let shares = args.shares.iter().copied();
    let shares = shares.filter(|share| *share > 0 && args.events > 0);
    rates.map(Pace::Clicks).chain(shares.map(Pace::Share))
}

impl Contest {
    fn open(events: u64, contenders: &[Contender]) -> Result<Self> {
        let oracle = |joins| Oracle::of(all_match(events).events(), joins);
        let contest = Self {
            stage: Stage::open(events)?,
            oracles: [oracle(false)?, oracle(true)?],
            all: contenders.iter().map(|of| Results::new(*of)).collect(),
        };
        // Without events there is no backlog to warm up with.
        if let Some(runs) = WARM_UP_EVENTS.checked_div(events) {
            contest.warm_up(runs.clamp(1, WARM_UPS));
        }
        Ok(contest)
    }

    /// Each over the backlog, which is not counted, until Kafka's work for it falls no further: while its code is compiled everybody is slower, each goes ways
    /// through it that nobody went before, and a contender that sends few requests is long over before its ways are compiled.
    fn warm_up(&self, runs: u64) {
        for contender in self.all.iter().map(|results| results.contender) {
            let oracle = oracle(&self.oracles, contender);
            let mut before = f64::INFINITY;
            for turn in (0..runs as u32).map(|n| u32::MAX - n) {
                eprintln!("warming up Kafka for {}", contender.title());
                match measure(&self.stage, contender, turn, oracle) {
                    Ok(run) if run.kafka_cpu < WARM * before => before = run.kafka_cpu,
                    Ok(_) => break,
                    Err(error) => {
                        eprintln!("FAILED: {error:#}");
                        break;
                    }
                }
            }
        }
    }

    /// Everything once. What fails is noted, and the others go on.
    fn turn(&mut self, turn: u32, args: &Args) {
        let Self {
            stage,
            oracles,
            all,
        } = self;
        for results in all.iter_mut().filter(|_| args.events > 0) {
            let contender = results.contender;
            let oracle = oracle(oracles, contender);
            let run = measure(stage, contender, turn, oracle);
            let run = noted(run, results, "backlog", |run| {
                format!("{} rows/s, {:?}", number(run.rows_per_second), run.faults)
            });
            results.backlogs.extend(run);
        }
        for (number, pace) in paces(args).enumerate() {
            for results in all.iter_mut() {
                // Who never came through the backlog has no capacity.
                let Some(rate) = results.rate(pace) else {
                    continue;
                };
                let name = format!("latency{turn}-{number}");
                let load = Load {
                    rate,
                    late: Share::NONE,
                    warm_up: WARM_UP,
                    time: Duration::from_secs(args.seconds),
                    kill_after: None,
                };
                let run = paced::run(stage, results.contender, &name, &load);
                let what = format!("latency at {pace} ({rate}/s)");
                let run = noted(
                    run.map(|course| Latency::of(&course)),
                    results,
                    &what,
                    |run| {
                        format!(
                            "p50, p90, p99, p99.9, max {:.1?} ms, {:?}",
                            run.quantiles_ms, run.faults
                        )
                    },
                );
                results.latencies.entry(pace).or_default().extend(run);
            }
        }
        let Some(rate) = NonZeroU32::new(args.recovery_rate) else {
            return;
        };
        for results in all.iter_mut().filter(|of| of.contender.joins()) {
            let load = Load {
                rate,
                late: Share::NONE,
                warm_up: WARM_UP,
                time: BEFORE_KILL + AFTER_KILL,
                kill_after: Some(BEFORE_KILL),
            };
            let run = paced::run(stage, results.contender, &format!("recovery{turn}"), &load);
            let run = noted(
                run.map(|course| Recovery::of(&course)),
                results,
                "kill -9",
                |run| {
                    format!(
                        "gap {:.2} s, caught up {:?}, {:?}",
                        run.gap_seconds, run.caught_up_seconds, run.faults
                    )
                },
            );
            results.recoveries.extend(run);
        }
    }
}

/// Runs it over the backlog; its rows, topics and files are gone afterwards.
fn measure(stage: &Stage, contender: Contender, turn: u32, oracle: &Oracle) -> Result<Backlog> {
    let job = Job {
        name: format!("backlog{turn}-{}", contender.word()),
        topics: Topics::backlog(),
    };
    contender.prepare(stage, &job)?;
    let output = contender.output(stage, &job)?;
    let run = backlog::measure(stage, output, oracle, || {
        Ok(vec![contender.start(stage, &job)?])
    });
    stage.clear(&job.name)?;
    run
}

/// What must come of the backlog.
fn oracle(oracles: &[Oracle; 2], contender: Contender) -> &Oracle {
    &oracles[usize::from(contender.joins())]
}

/// Says how a run went, and keeps the words of one that failed.
fn noted<T>(
    run: Result<T>,
    results: &mut Results,
    what: &str,
    words: impl Fn(&T) -> String,
) -> Option<T> {
    let title = results.contender.title();
    match run {
        Ok(run) => {
            eprintln!("{title}, {what}: {}", words(&run));
            Some(run)
        }
        Err(error) => {
            eprintln!("{title}, {what} FAILED: {error:#}");
            let error = error.to_string();
            let line = error.lines().next().unwrap_or_default();
            results.failures.push(format!("{what}: {line}"));
            None
        }
    }
}
