//! Soak: load without faults, a horizon and a retention of minutes, and what each process holds, looked at every few seconds. What grows without end shows.
//! It must not know how flatness is judged.

mod chart;
mod course;

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rtf_testing::wait_until;
use serde::Serialize;

use crate::isolation::Isolation;
use crate::run::{self, Plan};
use crate::stage::{EVERYBODY, Exit, Stage};
use course::{Course, FIGURES};

/// All is remembered for so short a time that half an hour forgets everything many times, and most primaries are on disk.
pub(crate) const SETTINGS: [(&str, &str); 4] = [
    ("registry.horizon", "2m"),
    ("join.wait.max", "20s"),
    ("joiner.memory", "16MiB"),
    ("redis.max_rows", "10000"),
];
/// Of the brokers: the two topics keep four minutes, and all topics have segments of half a minute, as only whole ones are deleted.
pub(crate) const RETENTION: [(&str, &str); 4] = [
    ("log.retention.ms", "240000"),
    ("log.roll.ms", "30000"),
    ("log.retention.check.interval.ms", "10000"),
    ("log.segment.delete.delay.ms", "1000"),
];
const LOOK_EVERY: Duration = Duration::from_secs(5);
const TELL_EVERY: Duration = Duration::from_secs(60);
const DRAINED_WITHIN: Duration = Duration::from_secs(120);

/// What came of it.
#[derive(Serialize)]
pub(crate) struct Soaked {
    seed: u64,
    rate: u32,
    seconds: u64,
    /// Foreign records sent.
    sent: u64,
    /// Rows that a reader of Redis saw.
    rows: u64,
    /// Pairs without a row.
    lost: usize,
    /// Rows of pairs that had one already, or that were never sent.
    doubled: u64,
    exits: Vec<Exit>,
    courses: Vec<Course>,
}

/// Does it, and writes `soak.json` and the pictures into a folder.
pub(crate) fn run(plan: &Plan, isolation: &Isolation, folder: &Path) -> Result<Soaked> {
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let mut stage = Stage::open(plan, isolation)?;
    let (_, load) = run::load(&stage, plan)?;
    let begun = Instant::now();
    let mut courses = Course::all(&EVERYBODY);
    let mut told = Instant::now();
    while !load.is_finished() {
        stage.tend_for(LOOK_EVERY)?;
        for course in &mut courses {
            course.look(&mut stage.pipeline, begun.elapsed())?;
        }
        let left = stage.meter.left();
        if told.elapsed() > TELL_EVERY {
            told = Instant::now();
            stage.say(&format!("{left} pairs are without a row yet"));
        }
    }
    let seconds = begun.elapsed().as_secs();
    let tally = load.finish()?;
    // What is still left then is said below.
    let _ = wait_until("all rows", DRAINED_WITHIN, || {
        (stage.meter.left() == 0).then_some(())
    });
    let soaked = Soaked {
        seed: plan.seed,
        rate: plan.rate,
        seconds,
        sent: tally.foreign_records(),
        rows: stage.meter.rows(),
        lost: stage.meter.left(),
        doubled: stage.meter.strays(),
        exits: std::mem::take(&mut stage.exits),
        courses,
    };
    std::fs::write(
        folder.join("soak.json"),
        serde_json::to_vec_pretty(&soaked)?,
    )?;
    for figure in &FIGURES {
        let of = soaked.courses.iter();
        let of = of.filter(|course| course.figure == figure.name);
        chart::draw(folder, figure, &of.collect::<Vec<_>>())?;
    }
    Ok(soaked)
}

impl Soaked {
    /// Fails if a row is missing or doubled, a process ended, or anything grows.
    pub(crate) fn into_result(self) -> Result<()> {
        let Self { lost, doubled, .. } = self;
        ensure!(
            lost == 0 && doubled == 0,
            "{lost} pairs lost, {doubled} rows doubled"
        );
        if let Some(exit) = self.exits.first() {
            bail!("{} ended ({}): {}", exit.who, exit.status, exit.words);
        }
        let growing: Vec<String> = (self.courses.iter())
            .filter(|course| course.trend().is_some_and(|trend| !trend.is_flat))
            .map(|course| format!("{} of {}", course.figure, course.who))
            .collect();
        ensure!(growing.is_empty(), "not flat: {}", growing.join(", "));
        Ok(())
    }
}

impl fmt::Display for Soaked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "seed {}, {} pairs/s for {} s, {} foreign records sent, {} rows, lost {}, doubled {}, {} ended by themselves\n",
            self.seed,
            self.rate,
            self.seconds,
            self.sent,
            self.rows,
            self.lost,
            self.doubled,
            self.exits.len()
        )?;
        write!(f, "| process |")?;
        for figure in &FIGURES {
            write!(f, " {}, {} |", figure.name, figure.unit)?;
        }
        write!(f, "\n|---|{}", "---|".repeat(FIGURES.len()))?;
        for instance in EVERYBODY {
            let who = instance.to_string();
            write!(f, "\n| {who} |")?;
            for figure in &FIGURES {
                let is_it = |course: &&Course| course.figure == figure.name && course.who == who;
                match self.courses.iter().find(is_it).and_then(Course::trend) {
                    Some(trend) => write!(f, " {trend} |")?,
                    None => write!(f, " – |")?,
                }
            }
        }
        Ok(())
    }
}
