//! Numbered places that are used again: grows by chunks, so that growing neither copies nor pauses.

/// Places in one chunk.
const CHUNK: usize = 4096;
/// The largest number: its owner has one bit to spare.
pub(crate) const MAX_NUMBER: u32 = u32::MAX >> 1;

/// Values under numbers that stay theirs until they are removed.
pub(crate) struct Slab<T> {
    chunks: Vec<Box<[Option<T>]>>,
    free: Vec<u32>,
    used: usize,
}

impl<T> Slab<T> {
    pub fn new() -> Self {
        Self {
            chunks: Vec::new(),
            free: Vec::new(),
            used: 0,
        }
    }

    pub fn len(&self) -> usize {
        self.used - self.free.len()
    }

    pub fn insert(&mut self, value: T) -> u32 {
        let number = self.free.pop().unwrap_or_else(|| self.grow());
        *self.place(number) = Some(value);
        number
    }

    pub fn remove(&mut self, number: u32) -> Option<T> {
        let value = self.place(number).take()?;
        self.free.push(number);
        Some(value)
    }

    pub fn get(&self, number: u32) -> Option<&T> {
        let number = number as usize;
        self.chunks.get(number / CHUNK)?[number % CHUNK].as_ref()
    }

    pub fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        self.place(number).as_mut()
    }

    /// All values with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        (0u32..)
            .zip(self.chunks.iter().flatten())
            .filter_map(|(number, value)| Some((number, value.as_ref()?)))
    }

    fn place(&mut self, number: u32) -> &mut Option<T> {
        let number = number as usize;
        &mut self.chunks[number / CHUNK][number % CHUNK]
    }

    fn grow(&mut self) -> u32 {
        if self.used == self.chunks.len() * CHUNK {
            self.chunks.push((0..CHUNK).map(|_| None).collect());
        }
        let number = u32::try_from(self.used).expect("memory ends before 2^31 values");
        assert!(number <= MAX_NUMBER, "memory ends before 2^31 values");
        self.used += 1;
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    proptest! {
        #[test]
        fn is_a_map_with_numbers_of_its_own(ops in prop::collection::vec(any::<(bool, u8)>(), 0..300)) {
            let mut slab = Slab::new();
            let mut model: HashMap<u32, u8> = HashMap::new();
            for (insert, n) in ops {
                if insert || model.is_empty() {
                    prop_assert_eq!(model.insert(slab.insert(n), n), None, "a number was in use");
                } else {
                    let number = *model.keys().nth(usize::from(n) % model.len()).unwrap();
                    prop_assert_eq!(slab.remove(number), model.remove(&number));
                    prop_assert_eq!(slab.remove(number), None);
                }
                prop_assert_eq!(slab.len(), model.len());
            }
            let all: HashMap<u32, u8> = slab.iter().map(|(number, n)| (number, *n)).collect();
            prop_assert_eq!(all, model);
        }
    }

    #[test]
    fn grows_past_a_chunk() {
        let mut slab = Slab::new();
        let numbers: Vec<u32> = (0..CHUNK as u32 + 5).map(|n| slab.insert(n)).collect();
        assert!(numbers.iter().all(|n| slab.get(*n) == Some(n)));
        assert_eq!(slab.get(u32::MAX), None);
    }
}
