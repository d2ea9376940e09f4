//! Course: a figure of a process over time, and whether it is flat. It must not know what the process does.

use std::fmt;
use std::time::Duration;

use anyhow::Result;
use rtf_testing::{Instance, Pipeline, Role, cost};
use serde::Serialize;

/// The first third is not judged, as everything is still filling; the last is compared with the one between.
const THIRDS: usize = 3;
/// So many of the looks lie below a floor: what comes and goes with each merge is no growth, and a leak lifts the floor.
const FLOOR: f64 = 0.10;
/// Growth that counts as flat, beside the floor.
const SHARE: f64 = 0.10;
const MIB: f64 = (1 << 20) as f64;

/// What is looked at.
pub(super) struct Figure {
    pub(super) name: &'static str,
    pub(super) unit: &'static str,
    /// Less growth than this is flat, however small the mean.
    grain: f64,
    /// Nothing for who has none of it.
    read: fn(&Pipeline, Instance, u32) -> Result<Option<f64>>,
}

/// Of each process.
pub(super) const FIGURES: [Figure; 4] = [
    Figure {
        name: "memory",
        unit: "MiB",
        grain: 8.0,
        read: |_, _, pid| Ok(Some(cost::resident_mib_of(pid)? as f64)),
    },
    Figure {
        name: "disk",
        unit: "MiB",
        grain: 8.0,
        read: |pipeline, Instance(role, number), _| {
            let folder = match role {
                Role::Registry => pipeline.registry_data(number),
                Role::Joiner => pipeline.joiner_data(number),
                _ => return Ok(None),
            };
            Ok(Some(cost::folder_bytes(&folder)? as f64 / MIB))
        },
    },
    Figure {
        name: "file descriptors",
        unit: "open",
        grain: 8.0,
        read: |_, _, pid| Ok(Some(cost::open_files(pid)? as f64)),
    },
    Figure {
        name: "threads",
        unit: "alive",
        grain: 4.0,
        read: |_, _, pid| Ok(Some(cost::threads(pid)? as f64)),
    },
];

/// A figure of a process, over time.
#[derive(Serialize)]
pub(super) struct Course {
    pub(super) figure: &'static str,
    pub(super) who: String,
    #[serde(skip)]
    instance: Instance,
    /// Seconds since the beginning, and how much it was.
    pub(super) looks: Vec<(f64, f64)>,
}

/// How a figure went after everything was filled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Trend {
    least: f64,
    most: f64,
    /// By how much the floor of the last third lies above that of the one before.
    growth: f64,
    pub(super) is_flat: bool,
}

impl Course {
    /// All figures of some processes; nothing was looked at yet.
    pub(super) fn all(of: &[Instance]) -> Vec<Self> {
        let each = FIGURES
            .iter()
            .flat_map(|figure| of.iter().map(move |instance| (figure, *instance)));
        let course = |(figure, instance): (&Figure, Instance)| Self {
            figure: figure.name,
            who: instance.to_string(),
            instance,
            looks: Vec::new(),
        };
        each.map(course).collect()
    }

    /// Looks once more.
    pub(super) fn look(&mut self, pipeline: &mut Pipeline, at: Duration) -> Result<()> {
        let pid = pipeline.process(self.instance)?.pid();
        if let Some(value) = (self.figure().read)(pipeline, self.instance, pid)? {
            self.looks.push((at.as_secs_f64(), value));
        }
        Ok(())
    }

    fn figure(&self) -> &'static Figure {
        let mut figures = FIGURES.iter();
        let figure = figures.find(|figure| figure.name == self.figure);
        figure.expect("courses are made of figures")
    }

    /// How it went; nothing with too few looks.
    pub(super) fn trend(&self) -> Option<Trend> {
        let third = self.looks.len() / THIRDS;
        let (_, looks) = self.looks.split_at(third);
        let (middle, last) = looks.split_at(looks.len() / 2);
        let (before, after) = (floor(middle)?, floor(last)?);
        let values = || looks.iter().map(|(_, value)| *value);
        Some(Trend {
            least: values().fold(f64::INFINITY, f64::min),
            most: values().fold(0.0, f64::max),
            growth: after - before,
            is_flat: after - before <= self.figure().grain.max(before * SHARE),
        })
    }
}

fn floor(looks: &[(f64, f64)]) -> Option<f64> {
    let mut values: Vec<f64> = looks.iter().map(|(_, value)| *value).collect();
    values.sort_by(f64::total_cmp);
    let at = (values.len() as f64 * FLOOR) as usize;
    values.get(at).copied()
}

impl fmt::Display for Trend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            least,
            most,
            growth,
            is_flat,
        } = self;
        write!(f, "{least:.0}–{most:.0}, {growth:+.1}")?;
        if *is_flat {
            Ok(())
        } else {
            write!(f, " **grows**")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(at: impl Fn(f64) -> f64) -> Trend {
        let looks = (0..900).map(f64::from).map(|second| (second, at(second)));
        let course = Course {
            figure: "memory",
            who: "registry-0".into(),
            instance: Instance(Role::Registry, 0),
            looks: looks.collect(),
        };
        course.trend().expect("there are looks")
    }

    #[test]
    fn a_leak_shows_and_a_saw_or_a_warm_up_does_not() {
        let level = memory(|_| 200.0);
        assert_eq!((level.growth, level.is_flat), (0.0, true));
        assert!(memory(|second| 200.0 + second % 60.0).is_flat);
        assert!(memory(|second| 200.0 + second.min(250.0)).is_flat);
        let leak = memory(|second| 200.0 + second / 10.0 + second % 60.0);
        assert!(!leak.is_flat && leak.growth > 25.0, "{leak}");
        assert!(memory(|second| 900.0 - second).is_flat, "less is no leak");
    }
}
