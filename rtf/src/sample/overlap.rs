//! How many foreign keys have a partner among primary ones. Pure.

use crate::human::count;
use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

/// A text's hash. Equal texts are equal; that others are too is too rare to change a share.
pub fn hash(text: &str) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(text)
}

/// How often each value was seen.
pub type Counts = HashMap<u64, u32>;

/// The keys of two samples compared.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Overlap {
    /// Foreign records that were looked at.
    pub of: u64,
    /// Those whose key is one of the primary keys.
    pub matched: u64,
    /// The part of the primary topic that was looked at.
    pub coverage: f64,
}

impl Overlap {
    /// Compares. `of` counts foreign records without a key too.
    pub fn new(foreign: &Counts, primary: &Counts, of: u64, coverage: f64) -> Self {
        let matched = foreign.iter().filter(|(key, _)| primary.contains_key(key));
        Self {
            of,
            matched: matched.map(|(_, count)| u64::from(*count)).sum(),
            coverage,
        }
    }

    /// The part of foreign records with a partner in the sample.
    pub fn share(&self) -> f64 {
        if self.of == 0 {
            return 0.0;
        }
        self.matched as f64 / self.of as f64
    }

    /// What it would be about if all of the primary topic had been looked at, should keys be spread evenly over it.
    pub fn estimate(&self) -> f64 {
        (self.share() / self.coverage.clamp(0.01, 1.0)).min(1.0)
    }

    /// Whether all of the primary topic was looked at.
    pub fn is_exact(&self) -> bool {
        self.coverage >= 1.0
    }
}

/// A share in words; what is not quite nothing or all is not called so.
pub fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if share > 0.0 && percent < 0.1 {
        "less than 0.1 %".into()
    } else if share >= 1.0 || share <= 0.0 || (10.0..99.0).contains(&percent) {
        format!("{percent:.0} %")
    } else {
        format!("{:.1} %", (percent * 10.0).floor() / 10.0)
    }
}

impl fmt::Display for Overlap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = percent(self.share());
        let of = count(self.of);
        write!(f, "{share} of {of} foreign records have a partner")?;
        if self.is_exact() {
            return Ok(());
        }
        write!(f, " in {} of the primary topic", percent(self.coverage))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(keys: &[&str]) -> Counts {
        let mut counts = Counts::new();
        for key in keys {
            *counts.entry(hash(key)).or_default() += 1;
        }
        counts
    }

    #[test]
    fn records_are_counted_not_keys() {
        let (foreign, primary) = (counts(&["a", "a", "b", "c"]), counts(&["a", "d", "d"]));
        let exact = Overlap::new(&foreign, &primary, 4, 1.0);
        assert_eq!((exact.matched, exact.share()), (2, 0.5));
        assert_eq!(
            exact.to_string(),
            "50 % of 4 foreign records have a partner"
        );
        let part = Overlap::new(&foreign, &primary, 4, 0.25);
        assert_eq!(part.estimate(), 1.0);
        assert_eq!(
            part.to_string(),
            "50 % of 4 foreign records have a partner in 25 % of the primary topic"
        );
        assert_eq!(Overlap::new(&counts(&[]), &primary, 0, 1.0).share(), 0.0);
    }

    #[test]
    fn almost_all_is_not_all() {
        for (share, words) in [
            (0.0, "0 %"),
            (0.000_1, "less than 0.1 %"),
            (0.031, "3.1 %"),
            (0.43, "43 %"),
            (0.999_9, "99.9 %"),
            (1.0, "100 %"),
        ] {
            assert_eq!(percent(share), words);
        }
    }
}
