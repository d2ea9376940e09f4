//! How long to wait before the next try. Knows no clock: who asks does the waiting.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(50);
/// Who is away is found within half a second of its return. All partitions share one connection and its failures, so a try is cheap.
const LAST: Duration = Duration::from_millis(500);

/// Doubles from 50 ms to half a second.
#[derive(Debug)]
pub struct BackOff(Duration);

impl Default for BackOff {
    fn default() -> Self {
        Self(FIRST)
    }
}

impl BackOff {
    /// The wait before the next try.
    pub fn next_wait(&mut self) -> Duration {
        let wait = self.0;
        self.0 = (wait * 2).min(LAST);
        wait
    }

    /// It went well: the next wait is the shortest again.
    pub fn reset(&mut self) {
        self.0 = FIRST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_a_bound_and_starts_again() {
        let mut back_off = BackOff::default();
        let waits: Vec<u128> = (0..8).map(|_| back_off.next_wait().as_millis()).collect();
        assert_eq!(waits, [50, 100, 200, 400, 500, 500, 500, 500]);
        back_off.reset();
        assert_eq!(back_off.next_wait(), FIRST);
    }
}
