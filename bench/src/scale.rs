//! `rtf-bench scale`: what an event costs while one thing grows and all else stays as it is.

mod curve;
mod ids;
mod joined;
mod late;
mod report;
mod sized;
mod verdict;

use crate::circumstances;
use anyhow::Result;
use clap::ValueEnum;
use curve::{Course, Curve};
use report::{Report, WRITER};
use serde_json::{Value, json};
use std::num::NonZeroU32;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// These curves [default: all]
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Curve>,
    /// Pairs of click and query in a backlog; fewer where rows are large
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(1000..))]
    events: u64,
    /// Everything is measured this often, in turns
    #[arg(long, default_value_t = 3)]
    runs: u32,
    /// Clicks a second while queries are late
    #[arg(long, default_value = "5000")]
    rate: NonZeroU32,
    /// Seconds of that, after ten that are not counted
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Ids in the registry, growing
    #[arg(long, value_delimiter = ',', default_values_t = [1_000_000, 5_000_000, 10_000_000, 25_000_000, 50_000_000])]
    ids: Vec<u64>,
    /// Write tables and pictures into performance.md and images/scale-*.svg of this folder
    #[arg(long)]
    docs: Option<PathBuf>,
    /// Also write the figures of each run here
    #[arg(long)]
    json: Option<PathBuf>,
}

const EXAMPLES: &str = "\
What is measured, and how, stands in bench/README.md.

Examples:
  rtf-bench scale --docs docs                      all curves, three times; takes most of an hour
  rtf-bench scale --only partitions,rows           these two, printed only
  rtf-bench scale --events 20000 --runs 1 --seconds 4 --ids 20000,100000 --docs /tmp/docs
                                                   everything once, small, to see that it works";

pub fn run(args: &Args) -> Result<()> {
    let curves = match args.only.as_slice() {
        [] => Curve::value_variants(),
        only => only,
    };
    let circumstances = circumstances::now(WRITER)?;
    let mut figures = Vec::new();
    for curve in curves {
        let course = measure(*curve, args)?;
        let report = Report {
            course: &course,
            runs: args.runs,
            circumstances: &circumstances,
        };
        println!("{}", report.markdown());
        if let Some(folder) = &args.docs {
            report.write(folder)?;
        }
        figures.push(course.to_json());
    }
    if let Some(path) = &args.json {
        let figures: Value = json!({ "circumstances": circumstances, "curves": figures });
        std::fs::write(path, format!("{figures:#}\n"))?;
    }
    Ok(())
}

fn measure(curve: Curve, args: &Args) -> Result<Course> {
    match curve {
        Curve::Ids => ids::measure(&args.ids, args.runs),
        Curve::Late => late::measure(args.rate, args.seconds, args.runs),
        Curve::Partitions => joined::partitions(args.events, args.runs),
        Curve::Processes => joined::processes(args.events, args.runs),
        Curve::Shares => joined::shares(args.events, args.runs),
        Curve::Rows => joined::rows(args.events, args.runs),
    }
}
