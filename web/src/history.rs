//! The last quarter of an hour of the figures, in memory, for the charts. Pure: time and figures come in as arguments. It
//! must not know who was asked for them.

use serde_json::{Map, Value, json};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Between two moments that are kept.
pub(crate) const STEP: Duration = Duration::from_secs(5);
/// Moments kept: a quarter of an hour.
const MOMENTS: usize = 180;

/// What is drawn: its name, where it stands in the figures, and what is made of it.
const LINES: [(&str, &str, Kind); 13] = [
    ("joins_per_second", "/joined", Kind::Rate),
    ("unjoinable_per_second", "/unjoinable", Kind::Rate),
    ("malformed_per_second", "/malformed", Kind::Rate),
    ("latency_p50", "/latency_seconds/p50", Kind::Level),
    ("latency_p99", "/latency_seconds/p99", Kind::Level),
    ("waiting", "/waiting", Kind::Level),
    ("parked", "/parked", Kind::Level),
    (
        "oldest_waiting_seconds",
        "/oldest_waiting_seconds",
        Kind::Level,
    ),
    ("lag", "/lag", Kind::Level),
    ("publisher_lag", "/publisher_lag", Kind::Level),
    ("dead_letter_lag", "/dead_letter_lag", Kind::Level),
    ("log_behind", "/log_behind", Kind::Level),
    ("registry_ids", "/registry_ids", Kind::Level),
];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// The figure itself.
    Level,
    /// How fast it grows, a second.
    Rate,
}

/// One for each line; what was not known is a gap in it.
type Values = [Option<f64>; LINES.len()];

/// The moments, the newest last.
#[derive(Debug, Default)]
pub(crate) struct History {
    moments: VecDeque<Values>,
    /// The figures of the last moment, which rates are measured from.
    last: Option<(Instant, Values)>,
    /// The last moment by the wall clock, ms since 1970.
    until_ms: i64,
}

impl History {
    /// Keeps the figures of a moment.
    pub(crate) fn push(&mut self, now: Instant, wall_ms: i64, figures: &Value) {
        let read = LINES.map(|(_, pointer, _)| figures.pointer(pointer).and_then(total));
        let drawn = std::array::from_fn(|line| match LINES[line].2 {
            Kind::Level => read[line],
            Kind::Rate => self.rate(now, line, read[line]),
        });
        self.moments.push_back(drawn);
        if self.moments.len() > MOMENTS {
            self.moments.pop_front();
        }
        self.last = Some((now, read));
        self.until_ms = wall_ms;
    }

    /// A count that fell says that somebody began anew: there is no rate then.
    fn rate(&self, now: Instant, line: usize, count: Option<f64>) -> Option<f64> {
        let (then, before) = self.last.as_ref()?;
        let grown = count? - before[line]?;
        let seconds = now.duration_since(*then).as_secs_f64();
        (grown >= 0.0 && seconds > 0.0).then(|| grown / seconds)
    }

    /// `{"step_seconds":5,"moments":180,"until":ms,"lines":{"waiting":[1,null,…],…}}`, all lines equally long, the newest last.
    /// `moments` is how many there can be.
    pub(crate) fn to_json(&self) -> Value {
        let line = |line: usize| -> Value {
            let values = self.moments.iter().map(|values| values[line].map(short));
            values.collect()
        };
        let lines: Map<String, Value> = LINES
            .iter()
            .enumerate()
            .map(|(n, (name, ..))| ((*name).to_owned(), line(n)))
            .collect();
        json!({ "step_seconds": STEP.as_secs(), "moments": MOMENTS, "until": self.until_ms, "lines": lines })
    }
}

/// A number; of an object, the sum of all numbers in it.
fn total(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::Object(fields) => fields.values().filter_map(total).reduce(|a, b| a + b),
        _ => None,
    }
}

/// Three digits behind the point are enough for a line.
fn short(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn counts_become_rates_and_objects_their_sum() {
        let (mut history, start) = (History::default(), Instant::now());
        history.push(
            start,
            1,
            &json!({ "joined": 10, "lag": { "t": { "0": 1, "1": 2 } } }),
        );
        history.push(at(start, 4), 2, &json!({ "joined": 12, "waiting": 7 }));
        let drawn = history.to_json();
        assert_eq!(drawn["until"], 2);
        assert_eq!(drawn["lines"]["joins_per_second"], json!([null, 0.5]));
        assert_eq!(drawn["lines"]["lag"], json!([3.0, null]));
        assert_eq!(drawn["lines"]["waiting"], json!([null, 7.0]));
    }

    #[test]
    fn a_restart_is_a_gap_and_not_a_fall() {
        let (mut history, start) = (History::default(), Instant::now());
        for (second, joined) in [(0, 100), (1, 110), (2, 3), (3, 8)] {
            history.push(at(start, second), 0, &json!({ "joined": joined }));
        }
        let drawn = history.to_json();
        assert_eq!(
            drawn["lines"]["joins_per_second"],
            json!([null, 10.0, null, 5.0])
        );
    }

    #[test]
    fn it_forgets_what_is_older_than_a_quarter_of_an_hour() {
        let (mut history, start) = (History::default(), Instant::now());
        for moment in 0..MOMENTS as u64 + 5 {
            history.push(at(start, moment), 0, &json!({ "waiting": moment }));
        }
        let drawn = history.to_json();
        let waiting = drawn["lines"]["waiting"].as_array().unwrap();
        assert_eq!((waiting.len(), &waiting[0]), (MOMENTS, &json!(5.0)));
    }
}
