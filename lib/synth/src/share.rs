//! Share: a part of a whole, from none to all. Exact, so that the same share picks the same events everywhere.

use std::fmt;
use std::str::FromStr;

/// A whole, in the fixed-point scale of [`Share`].
const WHOLE: u64 = 1 << 32;

/// A share between 0 and 1, written `0.05` or `5%`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(u64);

/// Why something is not a share.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ShareError {
    /// Below nothing, above everything, or no number.
    #[error("a share of {value} is not between 0 and 1 (or 0% and 100%)")]
    OutOfRange {
        /// The number given, as a part of 1.
        value: f64,
    },
    /// Not a number with or without `%`.
    #[error("\"{text}\" is not a share such as 0.05 or 5%")]
    NotANumber {
        /// The text given.
        text: String,
    },
}

impl Share {
    /// None of it.
    pub const NONE: Self = Self(0);
    /// All of it.
    pub const ALL: Self = Self(WHOLE);

    /// So many of a thousand; more than a thousand are all.
    #[must_use]
    pub const fn per_thousand(parts: u16) -> Self {
        if parts >= 1000 {
            return Self::ALL;
        }
        Self((WHOLE * parts as u64 + 500) / 1000)
    }

    /// A share given as a number from 0 to 1.
    ///
    /// # Errors
    /// [`ShareError::OutOfRange`] for any other number.
    pub fn new(value: f64) -> Result<Self, ShareError> {
        if !(0.0..=1.0).contains(&value) {
            return Err(ShareError::OutOfRange { value });
        }
        Ok(Self((value * WHOLE as f64).round() as u64))
    }

    /// The share as a number from 0 to 1.
    #[must_use]
    pub fn value(self) -> f64 {
        self.0 as f64 / WHOLE as f64
    }

    /// Whether an evenly drawn word falls into this share.
    pub(crate) fn holds(self, word: u32) -> bool {
        u64::from(word) < self.0
    }

    /// Spreads this share evenly over the indices: `Some(n)` if the `n`-th of it (from 0) falls on `index`.
    pub(crate) fn nth_at(self, index: u64) -> Option<u64> {
        let before = self.up_to(index);
        (self.up_to(index.saturating_add(1)) > before).then_some(before)
    }

    /// How many of the first `count` belong to this share, when it is spread evenly.
    fn up_to(self, count: u64) -> u64 {
        // Cannot overflow the result: the share is at most a whole.
        ((u128::from(count) * u128::from(self.0)) >> 32) as u64
    }
}

impl FromStr for Share {
    type Err = ShareError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (number, scale) = match text.trim().strip_suffix('%') {
            Some(percent) => (percent.trim_end(), 100.0),
            None => (text.trim(), 1.0),
        };
        let value: f64 = number.parse().map_err(|_| ShareError::NotANumber {
            text: text.to_owned(),
        })?;
        Self::new(value / scale)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Four places hide the rounding to 1/2^32 and show every share a person would write.
        let percent = (self.value() * 1_000_000.0).round() / 10_000.0;
        write!(f, "{percent}%")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_fractions_and_percents_and_writes_percents() {
        for (text, written) in [
            ("0.05", "5%"),
            ("5%", "5%"),
            (" 0.5 % ", "0.5%"),
            ("0", "0%"),
            ("1", "100%"),
            ("100%", "100%"),
        ] {
            assert_eq!(text.parse::<Share>().expect(text).to_string(), written);
        }
        assert_eq!("5%".parse(), Ok(Share::per_thousand(50)));
    }

    #[test]
    fn refuses_what_is_no_share() {
        for text in ["-0.1", "1.1", "101%", "NaN", "inf"] {
            let error = text.parse::<Share>().expect_err(text);
            assert!(
                matches!(error, ShareError::OutOfRange { .. }),
                "{text}: {error}"
            );
        }
        for text in ["", "%", "five", "5%%"] {
            let error = text.parse::<Share>().expect_err(text);
            assert!(
                matches!(error, ShareError::NotANumber { .. }),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn spreads_evenly_and_numbers_without_gaps() {
        for (share, count, parts) in [
            (Share::NONE, 1000, 0),
            (Share::per_thousand(5), 10_001, 50),
            (Share::per_thousand(333), 10_001, 3330),
            (Share::ALL, 1000, 1000),
        ] {
            let found: Vec<u64> = (0..count).filter_map(|index| share.nth_at(index)).collect();
            assert_eq!(found, (0..parts).collect::<Vec<u64>>(), "{share}");
        }
    }

    #[test]
    fn all_holds_every_word_and_none_holds_no_word() {
        assert!(Share::ALL.holds(u32::MAX));
        assert!(!Share::NONE.holds(0));
    }
}
