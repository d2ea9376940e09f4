//! Keys that were asked for in vain. Pure; knows neither events nor who asked.
//!
//! Only hashes are kept: the primary that arrives brings the key's text along. Two keys with one hash cost a
//! needless wake-up, nothing else. Bounded: the oldest go, and what waited for them is made good by its retry.

use std::collections::{HashMap, VecDeque};

/// Entries of the queue that no longer count are cleared away when they outnumber the others, and these.
const STALE_MIN: usize = 1024;

/// The table of wanted keys.
pub(crate) struct Wanted {
    /// By the key's hash: since when, as a running number.
    since: HashMap<u64, u64>,
    /// In the order they were asked for; an entry counts only while `since` agrees with it.
    queue: VecDeque<(u64, u64)>,
    next: u64,
    max: usize,
}

impl Wanted {
    pub fn new(max: usize) -> Self {
        Self {
            since: HashMap::new(),
            queue: VecDeque::new(),
            next: 0,
            max: max.max(1),
        }
    }

    pub fn len(&self) -> usize {
        self.since.len()
    }

    /// Remembers a key; one that is wanted already keeps its turn.
    pub fn insert(&mut self, hash: u64) {
        if self.since.contains_key(&hash) {
            return;
        }
        while self.since.len() >= self.max {
            self.forget_oldest();
        }
        self.since.insert(hash, self.next);
        self.queue.push_back((hash, self.next));
        self.next += 1;
        if self.queue.len() > 2 * self.since.len() + STALE_MIN {
            let since = &self.since;
            self.queue
                .retain(|(hash, turn)| since.get(hash) == Some(turn));
        }
    }

    /// Whether the key was wanted; it is not any more.
    pub fn take(&mut self, hash: u64) -> bool {
        !self.since.is_empty() && self.since.remove(&hash).is_some()
    }

    fn forget_oldest(&mut self) {
        let (hash, turn) = self
            .queue
            .pop_front()
            .expect("every wanted key stands in the queue");
        if self.since.get(&hash) == Some(&turn) {
            self.since.remove(&hash);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn is_a_bounded_queue_without_doubles(ops in prop::collection::vec((any::<bool>(), 0u64..12), 0..4000), max in 1usize..9) {
            let mut wanted = Wanted::new(max);
            let mut model: Vec<u64> = Vec::new();
            for (insert, key) in ops {
                let known = model.iter().position(|k| *k == key);
                if insert {
                    wanted.insert(key);
                    if known.is_none() {
                        if model.len() == max {
                            model.remove(0);
                        }
                        model.push(key);
                    }
                } else {
                    prop_assert_eq!(wanted.take(key), known.is_some());
                    if let Some(at) = known {
                        model.remove(at);
                    }
                }
                prop_assert_eq!(wanted.len(), model.len());
                prop_assert!(wanted.queue.len() <= 2 * max + STALE_MIN + 1);
            }
        }
    }
}
