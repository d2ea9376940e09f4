//! Draws: 32 random words for each (seed, lane, index), the same in whatever order they are asked for.
//!
//! Knows not what is drawn for. ChaCha8 because its output is fixed by its definition and it can jump to any
//! place; words are taken in order, so one after the other costs no jump.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use crate::share::Share;

/// Random words for each index. Half a cipher buffer: enough for a tweet, cheap enough for a click.
pub(crate) const WORDS: usize = 32;

/// What is drawn for; each lane has its own words, so that no two sorts of events depend on each other.
#[derive(Clone, Copy)]
pub(crate) enum Lane {
    Pairs = 1,
    Deals = 2,
    Tweets = 3,
    Keys = 4,
    Foreigns = 5,
    Primaries = 6,
}

/// The random words of one lane of one seed.
#[derive(Clone)]
pub(crate) struct Draws {
    rng: ChaCha8Rng,
    /// The index whose words the generator stands at.
    next: u64,
}

impl Draws {
    pub(crate) fn new(seed: u64, lane: Lane) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        let mut rng = ChaCha8Rng::from_seed(key);
        rng.set_stream(lane as u64);
        Self { rng, next: 0 }
    }

    /// The words of `index`.
    pub(crate) fn at(&mut self, index: u64) -> Draw {
        if index != self.next {
            self.rng.set_word_pos(u128::from(index) * WORDS as u128);
        }
        self.next = index.wrapping_add(1);
        let mut words = [0; WORDS];
        words.fill_with(|| self.rng.next_u32());
        Draw { words, used: 0 }
    }
}

/// The random words of one index, used up one after the other.
pub(crate) struct Draw {
    words: [u32; WORDS],
    used: usize,
}

impl Draw {
    /// The next word. Asking for more than [`WORDS`] is a mistake of the caller and panics.
    pub(crate) fn word(&mut self) -> u32 {
        let word = self.words[self.used];
        self.used += 1;
        word
    }

    /// Goes on with word `position`, so that what follows does not depend on how much was used before.
    pub(crate) fn skip_to(&mut self, position: usize) {
        debug_assert!(self.used <= position, "words would be used twice");
        self.used = position;
    }

    /// An even number below `bound`; 0 if `bound` is 0.
    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        // The bias is at most bound / 2^32, which no test and no viewer can see.
        ((u64::from(self.word()) * u64::from(bound)) >> 32) as u32
    }

    /// An even number from `low` to `high`, both included. `low` must not be above `high`.
    pub(crate) fn between(&mut self, low: u32, high: u32) -> u32 {
        let span = u64::from(high - low) + 1;
        low + ((u64::from(self.word()) * span) >> 32) as u32
    }

    /// One of `list`, which must not be empty.
    pub(crate) fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len() as u32) as usize]
    }

    /// Whether chance falls into `share`.
    pub(crate) fn hits(&mut self, share: Share) -> bool {
        let word = self.word();
        share.holds(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn order_of_asking_changes_nothing(seed: u64, mut indices in prop::collection::vec(0_u64..1 << 40, 1..20)) {
            let words = |draws: &mut Draws, index| draws.at(index).words;
            let mut forward = Draws::new(seed, Lane::Pairs);
            let first: Vec<_> = indices.iter().map(|&index| words(&mut forward, index)).collect();
            indices.reverse();
            let mut backward = Draws::new(seed, Lane::Pairs);
            let mut second: Vec<_> = indices.iter().map(|&index| words(&mut backward, index)).collect();
            second.reverse();
            prop_assert_eq!(first, second);
        }

        #[test]
        fn numbers_stay_within_their_bounds(seed: u64, low: u32, span: u32, bound in 1_u32..) {
            let high = low.saturating_add(span);
            let mut draw = Draws::new(seed, Lane::Deals).at(0);
            for _ in 0..WORDS / 2 {
                prop_assert!((low..=high).contains(&draw.between(low, high)));
                prop_assert!(draw.below(bound) < bound);
            }
        }
    }

    #[test]
    fn neighbours_lanes_and_seeds_differ() {
        let mut draws = Draws::new(7, Lane::Pairs);
        let (zero, one) = (draws.at(0).words, draws.at(1).words);
        assert_ne!(zero, one);
        assert_ne!(zero, Draws::new(7, Lane::Deals).at(0).words);
        assert_ne!(zero, Draws::new(8, Lane::Pairs).at(0).words);
        assert_eq!(zero, draws.at(0).words);
    }
}
