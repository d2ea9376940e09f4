//! Ledger: what was done, and how soon all was well again.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::kind::{Kind, Wanted};
use crate::meter::Seen;

/// One fault, from its beginning until all was well.
pub(crate) struct Shot {
    pub(crate) kind: &'static Kind,
    /// Whom it hit.
    pub(crate) whom: String,
    /// Whether another one was on at the time: then what was seen is of both.
    pub(crate) has_company: bool,
    pub(crate) seen: Seen,
    /// From the healing until no row was late any more.
    pub(crate) after_healing: Duration,
    /// It never became well again in time.
    pub(crate) is_open: bool,
}

/// All of them.
#[derive(Default)]
pub(crate) struct Ledger(Vec<Shot>);

/// p50, p99 and max, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Spread {
    pub(crate) p50: u64,
    pub(crate) p99: u64,
    pub(crate) max: u64,
}

impl Spread {
    fn of(times: impl Iterator<Item = Duration>) -> Self {
        let mut times: Vec<u64> = times.map(|t| t.as_millis() as u64).collect();
        times.sort_unstable();
        let at = |percent: usize| {
            let rank = (times.len() * percent).div_ceil(100);
            times
                .get(rank.saturating_sub(1))
                .copied()
                .unwrap_or_default()
        };
        Self {
            p50: at(50),
            p99: at(99),
            max: at(100),
        }
    }
}

/// A fault as it is reported, in milliseconds as [`Line`] has them.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Done {
    pub(crate) kind: &'static str,
    pub(crate) whom: String,
    pub(crate) alone: bool,
    pub(crate) gap_ms: u128,
    pub(crate) slowest_ms: u128,
    pub(crate) full_speed_ms: u128,
    pub(crate) after_healing_ms: u128,
    pub(crate) kafka_ms: u128,
}

/// A line of the report.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Line {
    pub(crate) kind: &'static str,
    pub(crate) does: &'static str,
    pub(crate) heals: &'static str,
    /// How often it was done.
    pub(crate) times: usize,
    /// Of these alone, without another fault at the same time; the times below are of them.
    pub(crate) alone: usize,
    /// The longest time without any row.
    pub(crate) gap_ms: Spread,
    /// The longest from an event's sending to its row.
    pub(crate) slowest_ms: Spread,
    /// From the fault's beginning until no row took longer than a second any more.
    pub(crate) full_speed_ms: Spread,
    /// The same from its healing.
    pub(crate) after_healing_ms: Spread,
    /// From the fault's beginning until no append of the load's own took longer than a second any more.
    pub(crate) kafka_ms: Spread,
    /// What is wanted, in words.
    pub(crate) wanted: String,
    /// How often it was not met.
    pub(crate) missed: usize,
}

impl Ledger {
    pub(crate) fn add(&mut self, shot: Shot) {
        self.0.push(shot);
    }

    /// How often something did not become well again in time.
    pub(crate) fn open(&self) -> usize {
        self.0.iter().filter(|shot| shot.is_open).count()
    }

    /// All of them, in order.
    pub(crate) fn done(&self) -> Vec<Done> {
        let done = self.0.iter().map(|shot| Done {
            kind: shot.kind.name,
            whom: shot.whom.clone(),
            alone: !shot.has_company,
            gap_ms: shot.seen.gap.as_millis(),
            slowest_ms: shot.seen.slowest.as_millis(),
            full_speed_ms: shot.seen.full_speed.as_millis(),
            after_healing_ms: shot.after_healing.as_millis(),
            kafka_ms: shot.seen.kafka.as_millis(),
        });
        done.collect()
    }

    pub(crate) fn lines(&self) -> Vec<Line> {
        let mut kinds: BTreeMap<&str, Vec<&Shot>> = BTreeMap::new();
        for shot in &self.0 {
            kinds.entry(shot.kind.name).or_default().push(shot);
        }
        kinds.into_values().map(|shots| line(&shots)).collect()
    }
}

fn line(shots: &[&Shot]) -> Line {
    let kind = shots[0].kind;
    let alone: Vec<_> = shots.iter().filter(|shot| !shot.has_company).collect();
    let spread = |of: fn(&Shot) -> Duration| Spread::of(alone.iter().map(|shot| of(shot)));
    let missed = |shot: &&&Shot| match kind.wanted {
        Wanted::Slowest(bound) => shot.seen.slowest > bound,
        Wanted::AfterHealing(bound) => shot.after_healing > bound,
        Wanted::BehindKafka(bound) => shot.seen.full_speed > shot.seen.kafka + bound,
        Wanted::Measured => false,
    };
    Line {
        kind: kind.name,
        does: kind.does,
        heals: kind.heals,
        times: shots.len(),
        alone: alone.len(),
        gap_ms: spread(|shot| shot.seen.gap),
        slowest_ms: spread(|shot| shot.seen.slowest),
        full_speed_ms: spread(|shot| shot.seen.full_speed),
        after_healing_ms: spread(|shot| shot.after_healing),
        kafka_ms: spread(|shot| shot.seen.kafka),
        wanted: match kind.wanted {
            Wanted::Slowest(bound) => format!("slowest ≤ {bound:?}"),
            Wanted::AfterHealing(bound) => format!("healed ≤ {bound:?}"),
            Wanted::BehindKafka(bound) => format!("full speed ≤ Kafka's + {bound:?}"),
            Wanted::Measured => "–".into(),
        },
        missed: alone.iter().copied().filter(missed).count(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_of_what_is_there() {
        let ms = |n| Duration::from_millis(n);
        assert_eq!(Spread::of(std::iter::empty()), Spread::default());
        let one = Spread::of([ms(7)].into_iter());
        assert_eq!((one.p50, one.p99, one.max), (7, 7, 7));
        let many = Spread::of((1..=200).map(ms));
        assert_eq!((many.p50, many.p99, many.max), (100, 198, 200));
    }
}
