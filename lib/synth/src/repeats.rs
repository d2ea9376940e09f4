//! Repeats: which events are due to be sent again. Holds indices, not bytes: those are made anew.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The farthest that an event is repeated after itself, in events. Bounds what [`Repeats`] holds.
pub(crate) const FARTHEST_REPEAT: u32 = 1000;

/// Events to be sent again, by the place where they are due.
#[derive(Default)]
pub(crate) struct Repeats {
    due: BinaryHeap<Reverse<(u64, u64)>>,
}

impl Repeats {
    /// Notes that `index` is to be repeated `after` events later.
    pub(crate) fn note(&mut self, index: u64, after: u32) {
        debug_assert!(
            (1..=FARTHEST_REPEAT).contains(&after),
            "a repeat out of bounds"
        );
        self.due.push(Reverse((index + u64::from(after), index)));
    }

    /// Takes the events that are due at `place` or before.
    pub(crate) fn take(&mut self, place: u64) -> Vec<u64> {
        let mut taken = Vec::new();
        while let Some(&Reverse((due, index))) = self.due.peek() {
            if due > place {
                break;
            }
            self.due.pop();
            taken.push(index);
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_each_back_once_when_it_is_due() {
        let mut repeats = Repeats::default();
        repeats.note(0, 3);
        repeats.note(1, 1);
        repeats.note(2, 1);
        assert_eq!(repeats.take(1), [] as [u64; 0]);
        assert_eq!(repeats.take(2), [1]);
        assert_eq!(repeats.take(3), [0, 2]);
        assert_eq!(repeats.take(1_000_000), [] as [u64; 0]);
    }
}
