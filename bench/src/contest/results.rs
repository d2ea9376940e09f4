//! All that was measured, by contender. Knows neither how nor what it is shown for.

use crate::backlog::Backlog;
use crate::contest::contender::Contender;
use crate::contest::figures::{Latency, Recovery};
use crate::spread::Spread;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Of one contender, a value for each run that came to its end.
pub struct Results {
    pub contender: Contender,
    pub backlogs: Vec<Backlog>,
    /// By clicks a second.
    pub latencies: BTreeMap<u32, Vec<Latency>>,
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

    pub fn latency(&self, rate: u32, figure: impl Fn(&Latency) -> f64) -> Option<Spread> {
        Spread::of(self.latencies.get(&rate)?.iter().map(figure))
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
        json!({
            "contender": self.contender.word(), "backlog": self.backlogs, "latency": self.latencies,
            "recovery": self.recoveries, "failures": self.failures,
        })
    }
}
