//! The join latency of the last minute, from the process's own histogram, which counts since the start.

use metrics_exporter_prometheus::PrometheusHandle;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What "recent" means.
const RECENT: Duration = Duration::from_secs(60);
/// Counts are kept no closer together than this.
const APART: Duration = Duration::from_secs(1);
const BUCKET: &str = "rtf_join_latency_seconds_bucket{";

/// Upper bounds in seconds, and how many rows lie below each.
type Buckets = Vec<(f64, f64)>;

/// Answers for quantiles.
pub struct RecentLatency {
    metrics: PrometheusHandle,
    window: Mutex<Window>,
}

impl RecentLatency {
    /// Of this recorder's histogram.
    pub fn new(metrics: PrometheusHandle) -> Self {
        Self {
            metrics,
            window: Mutex::default(),
        }
    }

    /// These quantiles in seconds; `None` while no row was published.
    pub fn quantiles<const N: usize>(&self, quantiles: [f64; N]) -> [Option<f64>; N] {
        let buckets = parse(&self.metrics.render());
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = window.turn(Instant::now(), buckets);
        quantiles.map(|quantile| within(&recent, quantile))
    }
}

/// Counts as they were, the oldest first.
#[derive(Default)]
struct Window(VecDeque<(Instant, Buckets)>);

impl Window {
    /// What was counted since [`RECENT`] ago, or since the oldest counts there are.
    fn turn(&mut self, now: Instant, counts: Buckets) -> Buckets {
        // One that is older than the window is where it begins.
        while self.0.get(1).is_some_and(|(then, _)| now - *then >= RECENT) {
            self.0.pop_front();
        }
        let recent = match self.0.front() {
            Some((_, before)) => minus(&counts, before),
            None => counts.clone(),
        };
        if self.0.back().is_none_or(|(then, _)| now - *then >= APART) {
            self.0.push_back((now, counts));
        }
        recent
    }
}

/// Where there were no buckets before, there was nothing in them.
fn minus(after: &[(f64, f64)], before: &[(f64, f64)]) -> Buckets {
    let count = |at: usize| before.get(at).map_or(0.0, |(_, count)| *count);
    let buckets = after.iter().enumerate();
    buckets
        .map(|(at, (bound, counted))| (*bound, counted - count(at)))
        .collect()
}

fn parse(rendered: &str) -> Buckets {
    let bucket = |line: &str| {
        let (label, count) = line.strip_prefix(BUCKET)?.rsplit_once(' ')?;
        let bound = label.split("le=\"").nth(1)?.split('"').next()?;
        let bound = if bound == "+Inf" {
            f64::INFINITY
        } else {
            bound.parse().ok()?
        };
        Some((bound, count.parse().ok()?))
    };
    rendered.lines().filter_map(bucket).collect()
}

/// Linear within the bucket the quantile falls into.
fn within(buckets: &[(f64, f64)], quantile: f64) -> Option<f64> {
    let total = buckets.last()?.1;
    if total == 0.0 {
        return None;
    }
    let wanted = total * quantile;
    let (mut below, mut count_below) = (0.0, 0.0);
    for (bound, count) in buckets {
        if *count >= wanted {
            let share = if *count > count_below {
                (wanted - count_below) / (count - count_below)
            } else {
                1.0
            };
            return Some(if bound.is_finite() {
                below + (bound - below) * share
            } else {
                below
            });
        }
        (below, count_below) = (*bound, *count);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_within_their_bucket() {
        let buckets = [
            (0.01, 50.0),
            (0.02, 90.0),
            (0.05, 100.0),
            (f64::INFINITY, 100.0),
        ];
        assert_eq!(within(&buckets, 0.5), Some(0.01));
        assert!((within(&buckets, 0.7).unwrap() - 0.015).abs() < 1e-9);
        assert!((within(&buckets, 0.99).unwrap() - 0.047).abs() < 1e-9);
        assert_eq!(within(&[(0.01, 0.0), (f64::INFINITY, 0.0)], 0.5), None);
        assert_eq!(within(&[], 0.5), None);
    }

    #[test]
    fn only_the_last_minute_counts() {
        let (mut window, start) = (Window::default(), Instant::now());
        let turn = |window: &mut Window, second, slow: f64| {
            let counts = vec![(0.01, 100.0), (1.0, 100.0 + slow)];
            window.turn(start + Duration::from_secs(second), counts)
        };
        assert_eq!(turn(&mut window, 0, 0.0), [(0.01, 100.0), (1.0, 100.0)]);
        assert_eq!(turn(&mut window, 30, 5.0), [(0.01, 0.0), (1.0, 5.0)]);
        // Since second 30.
        assert_eq!(turn(&mut window, 90, 5.0), [(0.01, 0.0), (1.0, 0.0)]);
        assert_eq!(within(&turn(&mut window, 91, 5.0), 0.5), None);
    }

    #[test]
    fn the_histogram_is_read_as_it_is_rendered() {
        let rendered = "# TYPE rtf_join_latency_seconds histogram\nrtf_join_latency_seconds_bucket{le=\"0.01\"} 3\nrtf_join_latency_seconds_bucket{le=\"+Inf\"} 4\nrtf_join_latency_seconds_count 4\n";
        assert_eq!(parse(rendered), [(0.01, 3.0), (f64::INFINITY, 4.0)]);
    }
}
