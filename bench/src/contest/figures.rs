//! What is made of a course of events: quantiles and gaps. Pure.

use crate::contest::paced::Course;
use crate::oracle::Faults;
use crate::spread::at;
use serde::Serialize;
use std::time::Duration;

/// From handing a click to the producer to reading its row, at a steady rate.
#[derive(Serialize)]
pub struct Latency {
    /// 50, 90, 99 and 99.9 of a hundred, and the longest.
    pub quantiles_ms: [f64; 5],
    /// Own, Kafka's, Redis's.
    pub cores: [f64; 3],
    pub rows: usize,
    #[serde(flatten)]
    pub faults: Faults,
}

pub const QUANTILES: [f64; 5] = [0.5, 0.9, 0.99, 0.999, 1.0];

impl Latency {
    pub fn of(course: &Course) -> Self {
        let counted = course
            .rows
            .iter()
            .filter(|(sent, _)| *sent >= course.warm_up);
        let mut millis: Vec<f64> = counted
            .map(|(sent, read)| (*read - *sent).as_secs_f64() * 1000.0)
            .collect();
        millis.sort_by(f64::total_cmp);
        Self {
            quantiles_ms: QUANTILES.map(|quantile| at(&millis, quantile)),
            cores: course.cores,
            rows: millis.len(),
            faults: course.faults,
        }
    }
}

/// What a `kill -9` costs whoever reads the rows.
#[derive(Serialize)]
pub struct Recovery {
    /// The longest time without a row from the kill on.
    pub gap_seconds: f64,
    /// From the kill until no more clicks were waiting for their row than at the most before it. None: not within the run.
    pub caught_up_seconds: Option<f64>,
    #[serde(flatten)]
    pub faults: Faults,
}

impl Recovery {
    pub fn of(course: &Course) -> Self {
        let killed = course.killed.unwrap_or_default();
        let waiting = waiting(&course.rows);
        let before = waiting
            .iter()
            .filter(|(at, _)| (course.warm_up..killed).contains(at));
        let usual = before.map(|(_, waiting)| *waiting).max().unwrap_or(0);
        let gap = longest_gap(&course.rows, killed);
        let mut after = waiting.iter().filter(|(at, _)| *at >= gap.until);
        let caught_up = after.find(|(_, waiting)| *waiting <= usual);
        Self {
            gap_seconds: gap.length.as_secs_f64(),
            caught_up_seconds: caught_up.map(|(at, _)| (*at - killed).as_secs_f64()),
            faults: course.faults,
        }
    }
}

struct Gap {
    length: Duration,
    until: Duration,
}

/// Between two rows, of which at least the second came after `from`.
fn longest_gap(rows: &[(Duration, Duration)], from: Duration) -> Gap {
    let pairs = rows.windows(2).map(|pair| (pair[0].1, pair[1].1));
    let gaps = pairs
        .filter(|(_, until)| *until > from)
        .map(|(since, until)| Gap {
            length: until - since,
            until,
        });
    let longest = gaps.max_by_key(|gap| gap.length);
    longest.unwrap_or(Gap {
        length: Duration::ZERO,
        until: from,
    })
}

/// How many clicks waited for their row whenever one came. Those that never came are not among them.
fn waiting(rows: &[(Duration, Duration)]) -> Vec<(Duration, usize)> {
    let mut sent: Vec<Duration> = rows.iter().map(|(sent, _)| *sent).collect();
    sent.sort();
    let so_far = |at: Duration| sent.partition_point(|sent| *sent <= at);
    let read = rows.iter().enumerate();
    read.map(|(before, (_, at))| (*at, so_far(*at).saturating_sub(before + 1)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// A click each 10 ms, its row 5 ms later; killed at 500 ms, back at 800 ms, and quicker from then on until nothing waits.
    fn course() -> Course {
        let mut rows = Vec::new();
        for index in 0..100 {
            let sent = ms(index * 10);
            let read = match index {
                0..50 => sent + ms(5),
                50.. => (sent + ms(5)).max(ms(800 + (index - 50) * 5)),
            };
            rows.push((sent, read));
        }
        Course {
            rows,
            warm_up: ms(100),
            killed: Some(ms(500)),
            cores: [0.0; 3],
            peak_mib: 0,
            faults: Faults::default(),
        }
    }

    #[test]
    fn latencies_are_those_after_the_warm_up() {
        let mut course = course();
        course.rows.truncate(50);
        course.rows[0].1 = ms(2000);
        let latency = Latency::of(&course);
        assert_eq!(latency.rows, 40);
        assert!(
            latency
                .quantiles_ms
                .iter()
                .all(|ms| (ms - 5.0).abs() < 1e-9)
        );
    }

    #[test]
    fn a_gap_is_from_row_to_row_and_it_has_caught_up_when_no_more_wait_than_before() {
        let recovery = Recovery::of(&course());
        assert!(
            (recovery.gap_seconds - 0.305).abs() < 1e-9,
            "{}",
            recovery.gap_seconds
        );
        let caught_up = recovery.caught_up_seconds.unwrap();
        assert!((0.5..0.6).contains(&caught_up), "{caught_up}");
    }

    #[test]
    fn who_comes_late_with_everything_has_caught_up_with_the_last_row() {
        let mut course = course();
        for (_, read) in &mut course.rows[50..] {
            *read = ms(3000);
        }
        let recovery = Recovery::of(&course);
        assert_eq!(recovery.caught_up_seconds, Some(2.5));
        assert!((recovery.gap_seconds - 2.505).abs() < 1e-9);
    }
}
