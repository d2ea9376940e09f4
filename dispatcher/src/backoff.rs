//! How long to wait before the next attempt. Pure: the jitter comes from a seed, not from a source of randomness.

use std::time::Duration;

/// Exponential back-off between two bounds, each wait spread by up to a quarter either way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Backoff {
    /// Before the second attempt, about.
    pub first: Duration,
    /// The longest, about.
    pub max: Duration,
}

/// Beyond so many doublings every back-off in use has reached its longest wait.
const MAX_DOUBLINGS: u32 = 30;

impl Backoff {
    /// The wait after this many attempts in vain (1 is the first). The same seed and number give the same wait.
    pub fn delay(&self, attempts: u32, seed: u64) -> Duration {
        let doublings = attempts.saturating_sub(1).min(MAX_DOUBLINGS);
        let wait = self.first.saturating_mul(1 << doublings).min(self.max);
        let spread = mix(seed ^ u64::from(attempts).rotate_left(32)) % 512;
        // 768..1280 of 1024: three quarters to five quarters.
        let factor = 768 + u32::try_from(spread).expect("below 512");
        wait.saturating_mul(factor) / 1024
    }
}

/// How often in a row somebody waited, and with which back-off: another reason to wait begins with its own first wait.
#[derive(Default, Debug)]
pub(crate) struct InVain {
    backoff: Option<Backoff>,
    attempts: u32,
}

impl InVain {
    /// The wait after an attempt that asks for this back-off; `None` after one that asks for none.
    pub fn wait(&mut self, backoff: Option<Backoff>, seed: u64) -> Option<Duration> {
        if self.backoff != backoff {
            *self = Self {
                backoff,
                attempts: 0,
            };
        }
        self.attempts = self.attempts.saturating_add(1);
        Some(backoff?.delay(self.attempts, seed))
    }
}

/// SplitMix64's finaliser: neighbouring seeds give unrelated numbers.
fn mix(seed: u64) -> u64 {
    let seed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let seed = (seed ^ (seed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    seed ^ (seed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BACKOFF: Backoff = Backoff {
        first: Duration::from_millis(100),
        max: Duration::from_secs(60),
    };

    proptest! {
        #[test]
        fn waits_double_up_to_the_longest(attempts in 1u32..100, seed: u64) {
            let middle = 100u128.saturating_mul(1 << (attempts - 1).min(40)).min(60_000);
            let wait = BACKOFF.delay(attempts, seed).as_millis();
            prop_assert!(wait >= middle * 3 / 4 && wait <= middle * 5 / 4, "{wait} around {middle}");
            prop_assert_eq!(BACKOFF.delay(attempts, seed), BACKOFF.delay(attempts, seed));
        }
    }

    #[test]
    fn another_reason_to_wait_begins_with_its_first_wait() {
        let other = Backoff {
            first: Duration::from_millis(20),
            max: Duration::from_millis(250),
        };
        let mut in_vain = InVain::default();
        for attempts in 1..20 {
            assert_eq!(in_vain.wait(Some(other), 7), Some(other.delay(attempts, 7)));
        }
        assert_eq!(in_vain.wait(Some(BACKOFF), 7), Some(BACKOFF.delay(1, 7)));
        assert_eq!(in_vain.wait(Some(BACKOFF), 7), Some(BACKOFF.delay(2, 7)));
        assert_eq!(in_vain.wait(None, 7), None);
        assert_eq!(in_vain.wait(Some(BACKOFF), 7), Some(BACKOFF.delay(1, 7)));
    }

    #[test]
    fn seeds_spread_the_waits() {
        let waits: std::collections::BTreeSet<_> =
            (0..100).map(|seed| BACKOFF.delay(3, seed)).collect();
        assert!(waits.len() > 50);
    }
}
