//! Ids: numbers that look random and never meet, because they are a shuffle of 0, 1, 2, …

/// What an id is for; two sorts of the same run share no pattern.
#[derive(Clone, Copy)]
pub(crate) enum Sort {
    Click = 1,
    Query = 2,
    MalformedClick = 3,
    MalformedQuery = 4,
    Deal = 5,
    MalformedTweet = 6,
    MalformedDeal = 7,
    Key = 8,
    Foreign = 9,
    Primary = 10,
    MalformedForeign = 11,
    MalformedPrimary = 12,
}

/// The ids of one sort in one run.
#[derive(Clone, Copy)]
pub(crate) struct Ids {
    salt: u64,
}

impl Ids {
    /// Ids that depend on `seed`, `run` (what tells two runs of a seed apart) and `sort`.
    pub(crate) fn new(seed: u64, run: i64, sort: Sort) -> Self {
        // One after the other, so that seed and run cannot stand for each other.
        let salt = [run.cast_unsigned(), sort as u64]
            .into_iter()
            .fold(mix(seed), |salt, part| {
                mix(salt.wrapping_add(GOLDEN).wrapping_add(part))
            });
        Self { salt }
    }

    /// The id of `index`; no two indices have the same.
    pub(crate) fn at(self, index: u64) -> u64 {
        mix(index.wrapping_add(self.salt))
    }
}

/// 2^64 divided by the golden ratio: keeps zeros from staying zeros.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Stafford's variant 13 of the 64-bit finalizer: one to one, and each input bit moves about half the output bits.
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn never_meet_and_depend_on_everything() {
        let all = [
            Ids::new(0, 0, Sort::Click),
            Ids::new(0, 0, Sort::Query),
            Ids::new(0, 1, Sort::Click),
            Ids::new(1, 0, Sort::Click),
        ];
        let mut seen = HashSet::new();
        for ids in all {
            assert!((0..10_000).all(|index| seen.insert(ids.at(index))));
        }
    }
}
