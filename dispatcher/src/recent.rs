//! Keys that were woken a short while ago. Pure.
//!
//! A wake-up can overtake the answer "not found" it makes obsolete: the primary arrives after the joiner looked and before its answer
//! is here. Whoever begins to wait asks here first. Order decides, not time: each batch of
//! wake-ups moves a mark, an attempt notes the mark when it begins, and what was woken after that counts.

use crate::Millis;
use rtf_proto::JoinKey;
use std::collections::{HashMap, VecDeque};

/// How long a wake-up is remembered: longer than an attempt usually takes. What is forgotten costs a back-off, not an event.
const REMEMBERED_MS: Millis = 10_000;
/// How many are remembered.
const REMEMBERED_MAX: usize = 65_536;

/// A point in the order of wake-ups.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub struct Mark(u64);

/// The keys woken lately.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    mark: Mark,
    last: HashMap<JoinKey, Mark>,
    order: VecDeque<(Millis, Mark, JoinKey)>,
}

impl Recent {
    /// Now, in the order of wake-ups.
    pub fn mark(&self) -> Mark {
        self.mark
    }

    /// These keys were woken.
    pub fn note(&mut self, keys: &[JoinKey], now: Millis) {
        self.mark.0 += 1;
        for key in keys {
            self.last.insert(key.clone(), self.mark);
            self.order.push_back((now, self.mark, key.clone()));
        }
        while let Some((at, ..)) = self.order.front()
            && (*at + REMEMBERED_MS < now || self.order.len() > REMEMBERED_MAX)
        {
            self.forget_first();
        }
    }

    /// Whether the key was woken after `mark`, as far as is remembered.
    pub fn woken_since(&self, key: &JoinKey, mark: Mark) -> bool {
        self.last.get(key).is_some_and(|last| *last > mark)
    }

    fn forget_first(&mut self) {
        let Some((_, mark, key)) = self.order.pop_front() else {
            return;
        };
        // It may have been woken again since.
        if self.last.get(&key) == Some(&mark) {
            self.last.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_woken_after_the_mark_counts() {
        let (a, b) = (JoinKey::from("a"), JoinKey::from("b"));
        let mut recent = Recent::default();
        let before = recent.mark();
        recent.note(std::slice::from_ref(&a), 0);
        assert!(recent.woken_since(&a, before));
        assert!(!recent.woken_since(&b, before));
        assert!(!recent.woken_since(&a, recent.mark()));
    }

    #[test]
    fn memory_is_bounded_in_time_and_number() {
        let mut recent = Recent::default();
        let before = recent.mark();
        recent.note(&[JoinKey::from("old"), JoinKey::from("again")], 0);
        recent.note(&[JoinKey::from("again")], REMEMBERED_MS);
        recent.note(&[], REMEMBERED_MS + 1);
        assert!(!recent.woken_since(&JoinKey::from("old"), before));
        assert!(recent.woken_since(&JoinKey::from("again"), before));
        for n in 0..2 * REMEMBERED_MAX {
            recent.note(&[JoinKey::from(n.to_string())], REMEMBERED_MS + 1);
        }
        assert_eq!(recent.order.len(), REMEMBERED_MAX);
        assert_eq!(recent.last.len(), REMEMBERED_MAX);
    }
}
