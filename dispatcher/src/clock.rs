//! The only place of this crate that reads a clock.

use crate::Millis;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Counts from when it was made; the machine's wall clock is read once, so that its jumps move nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    started: Instant,
    started_ms: i64,
}

impl Clock {
    /// Begins to count.
    pub fn start() -> Self {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
        let started_ms = since_1970.map_or(0, |time| time.as_millis());
        Self {
            started: Instant::now(),
            started_ms: i64::try_from(started_ms).unwrap_or(i64::MAX),
        }
    }

    /// Milliseconds since the start.
    pub fn now(&self) -> Millis {
        Millis::try_from(self.started.elapsed().as_millis()).unwrap_or(Millis::MAX)
    }

    /// A moment as milliseconds since 1970, for people.
    pub fn wall_ms(&self, moment: Millis) -> i64 {
        self.started_ms.saturating_add_unsigned(moment)
    }
}
