//! The batch that is being filled by the reading thread. Pure.

use crate::{Flight, Millis};

/// How the last look for a record ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Supply {
    /// There was one; there may be more at hand.
    Flowing,
    /// There was none.
    Dry,
}

/// Records on their way into one batch.
#[derive(Debug)]
pub(crate) struct Filling {
    pub flights: Vec<Flight>,
    bytes: usize,
    since: Millis,
    max_events: usize,
    max_bytes: usize,
    linger: Millis,
}

impl Filling {
    /// An empty one with its bounds.
    pub fn new(max_events: usize, max_bytes: usize, linger: Millis) -> Self {
        Self {
            flights: Vec::with_capacity(max_events),
            bytes: 0,
            since: 0,
            max_events,
            max_bytes,
            linger,
        }
    }

    /// Puts a record in.
    pub fn push(&mut self, flight: Flight, now: Millis) {
        if self.flights.is_empty() {
            self.bytes = 0;
            self.since = now;
        }
        self.bytes += flight.bytes;
        self.flights.push(flight);
    }

    /// Whether nothing more shall be put in.
    pub fn is_full(&self) -> bool {
        self.flights.len() >= self.max_events
            || (self.bytes >= self.max_bytes && !self.flights.is_empty())
    }

    /// Whether it is time to send it: when it is full, when it lingered long enough, or when nothing else is in flight and
    /// there is nothing more at hand.
    pub fn is_ripe(&self, supply: Supply, others_in_flight: bool, now: Millis) -> bool {
        if self.flights.is_empty() {
            return false;
        }
        let at_once = supply == Supply::Dry && !others_in_flight;
        self.is_full() || at_once || self.time_left(now) == 0
    }

    /// How much longer it may linger.
    pub fn time_left(&self, now: Millis) -> Millis {
        self.linger.saturating_sub(now.saturating_sub(self.since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::flight;

    #[test]
    fn a_batch_goes_when_full_or_late_or_alone() {
        let mut filling = Filling::new(2, 1 << 20, 2);
        assert!(!filling.is_ripe(Supply::Dry, false, 100), "nothing in it");
        filling.push(flight(0, 0, "k"), 10);
        assert!(!filling.is_ripe(Supply::Flowing, false, 11));
        assert!(filling.is_ripe(Supply::Dry, false, 11));
        assert!(!filling.is_ripe(Supply::Dry, true, 11));
        assert!(filling.is_ripe(Supply::Flowing, true, 12));
        filling.push(flight(0, 1, "k"), 10);
        assert!(filling.is_ripe(Supply::Flowing, true, 10));
        filling.flights.clear();
        filling.push(flight(0, 2, "k"), 50);
        assert_eq!((filling.is_full(), filling.time_left(51)), (false, 1));
    }

    #[test]
    fn few_large_records_fill_it_as_well() {
        let mut filling = Filling::new(500, 1, 2);
        filling.push(flight(0, 0, "k"), 0);
        assert!(filling.is_full());
    }
}
