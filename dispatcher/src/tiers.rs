//! The retry tiers: how long each keeps an event, and which one an event goes to. Pure.

use std::time::Duration;

/// One retry topic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tier {
    /// Its topic.
    pub topic: String,
    /// The consumer group that reads it.
    pub group: String,
    /// So long an event stays in it.
    pub delay: Duration,
}

/// Where an event is parked, and until when.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stay {
    /// Number of the tier.
    pub tier: usize,
    /// ms since 1970.
    pub due_ms: i64,
}

/// Which tier an event goes to that was read first at `first_seen_ms`: it waits about as long again as it has waited, in the longest tier
/// that is not longer than that, else in the shortest; and never past the end of its wait.
pub(crate) fn stay(tiers: &[Tier], first_seen_ms: i64, wait_max: Duration, now_ms: i64) -> Stay {
    let millis = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    let waited = now_ms.saturating_sub(first_seen_ms);
    let fits = |tier: &&(usize, &Tier)| millis(tier.1.delay) <= waited;
    let numbered: Vec<(usize, &Tier)> = tiers.iter().enumerate().collect();
    let longest = numbered
        .iter()
        .filter(fits)
        .max_by_key(|(_, tier)| tier.delay);
    let shortest = numbered.iter().min_by_key(|(_, tier)| tier.delay);
    let (tier, chosen) = longest.or(shortest).expect("there is a tier");
    let end = first_seen_ms.saturating_add(millis(wait_max));
    Stay {
        tier: *tier,
        due_ms: now_ms
            .saturating_add(millis(chosen.delay))
            .min(end)
            .max(now_ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_waits_about_as_long_again_as_it_has_waited() {
        let tier = |minutes: u64| Tier {
            topic: format!("t.{minutes}m"),
            group: String::new(),
            delay: Duration::from_secs(60 * minutes),
        };
        let tiers = [tier(1), tier(10), tier(60)];
        let minutes = |n: i64| n * 60_000;
        let day = Duration::from_secs(86_400);
        let after = |waited: i64| {
            let Stay { tier, due_ms } = stay(&tiers, 0, day, minutes(waited));
            (tier, (due_ms - minutes(waited)) / 60_000)
        };
        assert_eq!(after(0), (0, 1));
        assert_eq!(after(9), (0, 1));
        assert_eq!(after(10), (1, 10));
        assert_eq!(after(59), (1, 10));
        assert_eq!(after(60), (2, 60));
        assert_eq!(after(1430), (2, 10), "the wait ends sooner");
        assert_eq!(after(2000), (2, 0), "it is over");
    }
}
