//! A curve: one thing that grows, the points at which it is looked at, and the figures of each. Knows not how they are measured.

use crate::oracle::{Faults, sum};
use crate::spread::{Spread, number};
use anyhow::Result;
use clap::ValueEnum;
use serde::Serialize;
use serde_json::{Value, json};

/// What grows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Curve {
    /// Ids in the registry
    Ids,
    /// The share of primaries that come after their foreign event
    Late,
    /// Partitions of the join log
    Partitions,
    /// Processes of each role, each of which holds everything
    Processes,
    /// Processes of each role that share everything
    Shares,
    /// Bytes of a row
    Rows,
}

impl Curve {
    /// As on the command line, and in the names of what it makes.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ids => "ids",
            Self::Late => "late",
            Self::Partitions => "partitions",
            Self::Processes => "processes",
            Self::Shares => "shares",
            Self::Rows => "rows",
        }
    }

    /// The figures of a run, in their order.
    pub fn figures(self) -> &'static [&'static str] {
        match self {
            Self::Ids => &[
                "new id applied, CPU µs",
                "absent id looked up, CPU ns",
                "present id looked up, CPU µs",
                "disk B / id",
            ],
            Self::Late => &["own CPU s / M rows", "Kafka", "Redis", "peak RSS MiB"],
            Self::Partitions | Self::Processes | Self::Shares => &[
                "own CPU s / M rows",
                "Kafka",
                "Redis",
                "own CPU s of a start",
                "peak RSS MiB",
                "bytes a row",
            ],
            Self::Rows => &[
                "own CPU s / M rows",
                "own CPU µs / KB",
                "Kafka",
                "Redis",
                "own CPU s of a start",
                "peak RSS MiB",
                "bytes a row",
            ],
        }
    }

    /// Those of them that shall stay flat: the first ones.
    pub fn flat(self) -> &'static [&'static str] {
        let count = match self {
            Self::Ids => 3,
            Self::Rows => 2,
            Self::Late | Self::Partitions | Self::Processes | Self::Shares => 1,
        };
        &self.figures()[..count]
    }
}

/// What was measured along a curve.
pub struct Course {
    pub curve: Curve,
    /// What stays as it is, in words.
    pub setting: String,
    pub points: Vec<Point>,
    /// The words of runs that did not come to their end.
    pub failures: Vec<String>,
}

/// A value of what grows.
pub struct Point {
    pub label: String,
    pub runs: Vec<Run>,
}

/// One run at one point.
#[derive(Serialize)]
pub struct Run {
    /// Those of the curve.
    pub figures: Vec<f64>,
    #[serde(flatten)]
    pub faults: Faults,
}

impl Point {
    pub fn figure(&self, at: usize) -> Option<Spread> {
        Spread::of(self.runs.iter().map(|run| run.figures[at]))
    }

    pub fn faults(&self) -> Faults {
        sum(self.runs.iter().map(|run| run.faults))
    }
}

impl Course {
    pub fn new(curve: Curve, setting: String, labels: impl IntoIterator<Item = String>) -> Self {
        let point = |label| Point {
            label,
            runs: Vec::new(),
        };
        Self {
            curve,
            setting,
            points: labels.into_iter().map(point).collect(),
            failures: Vec::new(),
        }
    }

    /// Measures each point once more than `runs`; the first turn is not counted, as the servers' code is compiled in it. What fails is noted, and the
    /// others go on. `measure` gets the place of the point, and a name that no other run has.
    pub fn turns(&mut self, runs: u32, measure: impl Fn(usize, &str) -> Result<Run>) {
        for turn in 0..=runs {
            let mut places: Vec<usize> = (0..self.points.len()).collect();
            // Whoever is first once is last the next time.
            if turn % 2 == 1 {
                places.reverse();
            }
            for place in places {
                let name = format!("{}{turn}-{place}", self.curve.word());
                let run = measure(place, &name);
                self.note(place, turn > 0, run);
            }
        }
    }

    pub fn note(&mut self, place: usize, is_counted: bool, run: Result<Run>) {
        let point = &mut self.points[place];
        let (word, label) = (self.curve.word(), &point.label);
        match run {
            Ok(run) => {
                let figures = self.curve.figures().iter().zip(&run.figures);
                let figures = figures.map(|(name, value)| format!("{name} {}", number(*value)));
                let figures = figures.collect::<Vec<_>>().join(", ");
                let turn = if is_counted { "" } else { " (not counted)" };
                eprintln!("{word}, {label}{turn}: {figures}; {:?}", run.faults);
                point.runs.extend(is_counted.then_some(run));
            }
            Err(error) => {
                eprintln!("{word}, {label} FAILED: {error:#}");
                let error = error.to_string();
                let line = error.lines().next().unwrap_or_default();
                self.failures.push(format!("{label}: {line}"));
            }
        }
    }

    pub fn to_json(&self) -> Value {
        let points = self.points.iter();
        let points = points.map(|point| json!({ "point": point.label, "runs": point.runs }));
        json!({
            "curve": self.curve.word(), "figures": self.curve.figures(),
            "points": points.collect::<Vec<_>>(), "failures": self.failures,
        })
    }
}
