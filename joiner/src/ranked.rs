//! The events of one key in the policy's order. Knows nothing of them; how they compare is told with each call.

use std::cmp::Ordering;

/// The longest chunk: what an insertion moves at the most.
const CHUNK: usize = 512;

/// At least two items in order: chunks in order, none of them empty. Most keys have one event and no such list.
pub(crate) struct Ranked<T>(Vec<Vec<T>>);

impl<T: Copy> Ranked<T> {
    pub fn pair(one: T, other: T, compare: impl Fn(T, T) -> Ordering) -> Self {
        match compare(one, other) {
            Ordering::Greater => Self(vec![vec![other, one]]),
            _ => Self(vec![vec![one, other]]),
        }
    }

    /// Any of them.
    pub fn any(&self) -> T {
        self.0[0][0]
    }

    pub fn iter(&self) -> impl Iterator<Item = T> {
        self.0.iter().flatten().copied()
    }

    pub fn insert(&mut self, item: T, compare: impl Fn(T, T) -> Ordering) {
        let at = self.chunk_of(item, &compare);
        if self.0[at].len() < CHUNK {
            return insert(&mut self.0[at], item, compare);
        }
        // What arrives in order fills its chunks; else they are halved.
        let is_last = at + 1 == self.0.len() && compare(self.0[at][CHUNK - 1], item).is_lt();
        if is_last {
            return self.0.push(vec![item]);
        }
        let mut behind = self.0[at].split_off(CHUNK / 2);
        match compare(behind[0], item) {
            Ordering::Less => insert(&mut behind, item, compare),
            _ => insert(&mut self.0[at], item, compare),
        }
        self.0.insert(at + 1, behind);
    }

    /// Takes one away that is there, while it can still be compared. When one alone is left, that is it.
    pub fn remove(&mut self, item: T, compare: impl Fn(T, T) -> Ordering) -> Option<T> {
        let at = self.chunk_of(item, &compare);
        let chunk = &mut self.0[at];
        let place = chunk
            .binary_search_by(|other| compare(*other, item))
            .expect("an event stands where its order says");
        chunk.remove(place);
        if chunk.is_empty() {
            self.0.remove(at);
        }
        match &self.0[..] {
            [only] if only.len() == 1 => Some(only[0]),
            _ => None,
        }
    }

    /// The chunk a item stands in or belongs into: the last that does not begin behind it.
    fn chunk_of(&self, item: T, compare: impl Fn(T, T) -> Ordering) -> usize {
        let begins = |chunk: &Vec<T>| compare(chunk[0], item).is_le();
        self.0.partition_point(begins).saturating_sub(1)
    }
}

fn insert<T: Copy>(chunk: &mut Vec<T>, item: T, compare: impl Fn(T, T) -> Ordering) {
    let is_before = |other: &T| compare(*other, item).is_lt();
    // Most arrive in order.
    let place = match chunk.last() {
        Some(last) if is_before(last) => chunk.len(),
        _ => chunk.partition_point(is_before),
    };
    chunk.insert(place, item);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(ops: Vec<(bool, u16)>, spread: u32) -> Result<(), TestCaseError> {
        let spread = |n: u32| n.wrapping_mul(spread);
        let compare = |a: u32, b: u32| spread(a).cmp(&spread(b));
        let mut ranked = Ranked::pair(70_000, 70_001, compare);
        let mut model = vec![70_000, 70_001];
        model.sort_by_key(|n| spread(*n));
        for (insert, n) in ops {
            let n = u32::from(n);
            match model.binary_search_by_key(&spread(n), |n| spread(*n)) {
                Err(place) if insert => {
                    ranked.insert(n, compare);
                    model.insert(place, n);
                }
                Ok(place) if !insert => {
                    model.remove(place);
                    prop_assert_eq!(ranked.remove(n, compare), None);
                }
                _ => {}
            }
            prop_assert!(model.contains(&ranked.any()));
        }
        prop_assert_eq!(ranked.iter().collect::<Vec<_>>(), &model[..]);
        let last = model.pop().unwrap();
        let left = model.iter().map(|n| ranked.remove(*n, compare)).last();
        prop_assert_eq!(left, Some(Some(last)));
        Ok(())
    }

    proptest! {
        #[test]
        fn small_ones_are_sorted_lists(ops in prop::collection::vec((any::<bool>(), 0u16..8), 0..100)) {
            check(ops, 0x9E37_79B9)?;
        }
    }
    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20))]
        #[test]
        fn large_ones_are_sorted_lists(ops in prop::collection::vec((prop::bool::weighted(0.8), 0u16..4000), 0..6000)) {
            check(ops, 0x9E37_79B9)?;
        }
    }

    #[test]
    fn what_arrives_in_order_fills_its_chunks() {
        let mut ranked = Ranked::pair(0, 1, |a, b| a.cmp(&b));
        (2..2000).for_each(|n| ranked.insert(n, |a, b| a.cmp(&b)));
        assert!(ranked.iter().eq(0..2000));
        assert_eq!(ranked.0.len(), 4);
    }
}
