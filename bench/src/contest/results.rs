//! All that was measured, by contender. Knows neither how nor what it is shown for.

use crate::backlog::Backlog;
use crate::contest::contender::Contender;
use crate::contest::figures::{Latency, Recovery};
use crate::spread::Spread;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::num::NonZeroU32;

/// How fast clicks are sent while latencies are measured.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Pace {
    /// So many a second.
    Clicks(NonZeroU32),
    /// So many per cent of the rows a second that the contender made of the backlog.
    Share(u32),
}

impl Display for Pace {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clicks(rate) => write!(f, "{rate} clicks a second"),
            Self::Share(percent) => write!(f, "{percent} % of its own backlog's rows a second"),
        }
    }
}

/// Of one contender, a value for each run that came to its end.
pub struct Results {
    pub contender: Contender,
    pub backlogs: Vec<Backlog>,
    pub latencies: BTreeMap<Pace, Vec<Latency>>,
    pub recoveries: Vec<Recovery>,
    /// The words of those that did not.
    pub failures: Vec<String>,
}

impl Results {
    pub fn new(contender: Contender) -> Self {
        Self {
            contender,
            backlogs: Vec::new(),
            latencies: BTreeMap::new(),
            recoveries: Vec::new(),
            failures: Vec::new(),
        }
    }

    pub fn backlog(&self, figure: impl Fn(&Backlog) -> f64) -> Option<Spread> {
        Spread::of(self.backlogs.iter().map(figure))
    }

    pub fn latency(&self, pace: Pace, figure: impl Fn(&Latency) -> f64) -> Option<Spread> {
        Spread::of(self.latencies.get(&pace)?.iter().map(figure))
    }

    /// Clicks a second at this pace; none if its capacity is not known.
    pub fn rate(&self, pace: Pace) -> Option<NonZeroU32> {
        match pace {
            Pace::Clicks(rate) => Some(rate),
            Pace::Share(percent) => {
                let capacity = self.backlog(|run| run.rows_per_second)?.median;
                NonZeroU32::new((capacity * f64::from(percent) / 100.0) as u32)
            }
        }
    }

    pub fn gap(&self) -> Option<Spread> {
        Spread::of(self.recoveries.iter().map(|run| run.gap_seconds))
    }

    /// None too if one of the runs never caught up.
    pub fn caught_up(&self) -> Option<Spread> {
        let runs = self.recoveries.iter();
        Spread::of(
            runs.map(|run| run.caught_up_seconds)
                .collect::<Option<Vec<_>>>()?,
        )
    }

    pub fn to_json(&self) -> Value {
        let latencies = self.latencies.iter();
        let latencies: BTreeMap<String, _> = latencies
            .map(|(pace, runs)| (pace.to_string(), runs))
            .collect();
        json!({
            "contender": self.contender.word(), "backlog": self.backlogs, "latency": latencies,
            "recovery": self.recoveries, "failures": self.failures,
        })
    }
}
