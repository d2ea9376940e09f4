//! rtf-faults: real Kafka, real Redis and real processes under load, shot at for minutes or hours, and in the end checked event by event.
//! docs/proof.md says what came of it. This file knows the command line only.

mod isolation;
mod kind;
mod kinds;
mod ledger;
mod meter;
mod network;
mod report;
mod rows;
mod run;
mod soak;
mod stage;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Parser;

use crate::kind::{Kind, Skipped};
use crate::run::Plan;

/// Shoots at a whole cluster under load, and checks that each event ended exactly once.
#[derive(Debug, Parser)]
#[command(
    name = "rtf-faults",
    version,
    after_help = "\
Examples:
  rtf-faults --list                         every kind of fault, and whether this machine allows it
  rtf-faults --minutes 5 --seed 7           a mixture
  rtf-faults --hours 1 --json report.json   the same for an hour
  rtf-faults --only kill.registry --only broker
  rtf-faults --soak data/soak --hours 2     no faults: whether memory, disk, file descriptors or threads grow

Run as root it gives itself a network and a mount namespace of its own, which end with it. The kinds that need them are skipped
elsewhere, and the report says so. RTF_KEEP=1 keeps all logs.
Exit code 0: each event ended exactly once; 1: not, or something never came back, or grew in a soak; 64: a wrong option."
)]
struct Cli {
    /// Minutes under fire.
    #[arg(long, default_value_t = 5.0)]
    minutes: f64,
    /// Hours under fire, instead of minutes.
    #[arg(long)]
    hours: Option<f64>,
    /// Decides which faults come when, and the data.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Pairs of events a second.
    #[arg(long, default_value_t = 1_000)]
    rate: u32,
    /// Only kinds whose names begin so; may be repeated.
    #[arg(long, value_name = "KIND")]
    only: Vec<String>,
    /// No kinds whose names begin so; may be repeated.
    #[arg(long, value_name = "KIND")]
    skip: Vec<String>,
    /// Each dispatcher is a pipeline of its own over the same topics, instead of a member of one group.
    #[arg(long)]
    two_pipelines: bool,
    /// One fault at a time; else every fifth has a second one beside it.
    #[arg(long)]
    single: bool,
    /// Fails also where a recovery took longer than wanted.
    #[arg(long)]
    strict: bool,
    /// No faults, but a horizon of minutes: looks at what each process holds, and writes soak.json and a picture of each figure into this folder.
    /// Give it half an hour at the least: in less it takes filling for growth.
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["only", "skip", "two_pipelines", "single", "strict", "json", "list"])]
    soak: Option<PathBuf>,
    /// Writes the report as JSON too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Says what there is, and does nothing.
    #[arg(long)]
    list: bool,
}

impl Cli {
    fn time(&self) -> Duration {
        let minutes = self.hours.map_or(self.minutes, |hours| hours * 60.0);
        Duration::from_secs_f64(minutes * 60.0)
    }

    fn plan(&self, kinds: Vec<&'static Kind>, skipped: Vec<Skipped>) -> Plan {
        Plan {
            time: self.time(),
            seed: self.seed,
            rate: self.rate.max(1),
            two_pipelines: self.two_pipelines,
            single: self.single,
            is_soak: self.soak.is_some(),
            kinds,
            skipped,
        }
    }

    fn is_wanted(&self, name: &str) -> bool {
        let any = |names: &[String]| names.iter().any(|begin| name.starts_with(begin.as_str()));
        (self.only.is_empty() || any(&self.only)) && !any(&self.skip)
    }
}

fn main() -> ExitCode {
    let cli = Cli::try_parse().unwrap_or_else(|error| {
        // --help and --version are no errors.
        let code = if error.use_stderr() { 64 } else { 0 };
        // Standard output may be closed already.
        let _ = error.print();
        std::process::exit(code)
    });
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rtf-faults: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<()> {
    let isolation = isolation::enter()?;
    if let Some(folder) = &cli.soak {
        let soaked = soak::run(&cli.plan(Vec::new(), Vec::new()), &isolation, folder)?;
        println!("{soaked}");
        return soaked.into_result();
    }
    let (kinds, skipped) = kind::choose(&isolation, |name| cli.is_wanted(name));
    for (kind, reason) in &skipped {
        eprintln!("SKIPPED {}: {reason}", kind.name);
    }
    if cli.list {
        for kind in &kinds {
            println!("{:<20} {} ({})", kind.name, kind.does, kind.heals);
        }
        return Ok(());
    }
    ensure!(!kinds.is_empty(), "no kind of fault is left to be tried");
    let plan = cli.plan(kinds, skipped);
    let report = run::run(&plan, &isolation)?;
    println!("{report}");
    if let Some(path) = &cli.json {
        std::fs::write(path, serde_json::to_vec_pretty(&report)?)?;
    }
    report.into_result(cli.strict)
}
