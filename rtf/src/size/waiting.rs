//! What late events do while they wait: how many there are, in memory and parked, and how often they are tried and moved. Pure.

use crate::size::plan::{Load, Settings};
use std::time::Duration;

/// On average; events late by `wait`, one like the other.
pub struct Waiting {
    /// Events that are parked.
    pub parked: f64,
    /// Events put into a retry topic, a second.
    pub parkings: f64,
    /// Look-ups in vain, a second.
    pub in_vain: f64,
}

impl Waiting {
    pub fn of(load: &Load, settings: &Settings) -> Self {
        let late = load.events_per_second * load.late;
        let wait = load.wait.as_secs_f64();
        let in_memory_for = wait.min(settings.park_after.as_secs_f64());
        let wanted = late * in_memory_for;
        // More dispatchers hold more, but how many there are depends on what is parked.
        let in_memory = wanted.min(settings.max_waiting * settings.replicas as f64);
        let kept = if wanted > 0.0 {
            in_memory / wanted
        } else {
            1.0
        };
        let parkings_each = kept * parkings(settings.park_after, load.wait, &settings.tiers)
            + (1.0 - kept) * parkings(Duration::ZERO, load.wait, &settings.tiers);
        let tries = tries(settings.retries, in_memory_for);
        Self {
            parked: late * wait - in_memory,
            parkings: late * parkings_each,
            in_vain: late * (kept * tries + parkings_each),
        }
    }
}

/// How often an event is parked from when it has waited `from` until its partner comes: in the last tier whose delay it has waited already.
fn parkings(from: Duration, wait: Duration, tiers: &[Duration]) -> f64 {
    let (Some(first), Some(last)) = (tiers.first(), tiers.last()) else {
        return 0.0;
    };
    let (mut waited, mut times) = (from, 0.0);
    while waited < wait {
        let tier = tiers.iter().rev().find(|tier| **tier <= waited);
        let tier = *tier.unwrap_or(first);
        if tier == *last {
            return times + ((wait - waited).as_secs_f64() / last.as_secs_f64()).ceil();
        }
        waited += tier;
        times += 1.0;
    }
    times
}

/// How often an event is tried in vain within so many seconds: at once, and after pauses that double up to the longest one.
fn tries((initial, longest): (Duration, Duration), within: f64) -> f64 {
    let (mut pause, longest) = (initial.as_secs_f64(), longest.as_secs_f64());
    let (mut at, mut times) = (0.0, 0.0);
    while at < within {
        if pause >= longest {
            return times + ((within - at) / longest).ceil();
        }
        times += 1.0;
        at += pause;
        pause *= 2.0;
    }
    times
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minutes(minutes: u64) -> Duration {
        Duration::from_secs(60 * minutes)
    }

    #[test]
    fn an_event_is_parked_each_minute_then_each_ten_then_each_hour() {
        let tiers = [minutes(1), minutes(10), minutes(60)];
        for (wait, times) in [(1, 0.0), (2, 1.0), (10, 9.0), (60, 14.0), (24 * 60, 37.0)] {
            assert_eq!(parkings(minutes(1), minutes(wait), &tiers), times, "{wait}");
        }
        assert_eq!(parkings(Duration::ZERO, minutes(2), &tiers), 2.0);
        assert_eq!(parkings(minutes(1), minutes(5), &[]), 0.0);
    }

    #[test]
    fn pauses_double_up_to_the_longest() {
        let pauses = (Duration::from_millis(200), Duration::from_secs(30));
        assert_eq!(tries(pauses, 0.0), 0.0);
        assert_eq!(tries(pauses, 0.5), 2.0);
        // At 0, 0.2, 0.6, 1.4, 3, 6.2, 12.6, 25.4 and 51 s.
        assert_eq!(tries(pauses, 60.0), 9.0);
    }
}
