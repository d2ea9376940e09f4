//! Several runs of one measurement: least, middle and most, and how figures are written. Pure.

use serde::Serialize;
use std::fmt;

/// Least, middle and most of several runs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    pub min: f64,
    pub median: f64,
    pub max: f64,
}

impl Spread {
    /// None of no values.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        Some(Self {
            min: *values.first()?,
            median: at(&values, 0.5),
            max: *values.last()?,
        })
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [min, median, max] = [self.min, self.median, self.max].map(number);
        if min == max {
            return write!(f, "{median}");
        }
        write!(f, "{median} ({min}–{max})")
    }
}

/// Three digits that count, thousands with a comma.
pub fn number(value: f64) -> String {
    match value.abs() {
        ..10.0 => format!("{value:.2}"),
        ..100.0 => format!("{value:.1}"),
        ..1000.0 => format!("{value:.0}"),
        ..10_000.0 => thousands((value / 10.0).round() * 10.0),
        _ => thousands((value / 100.0).round() * 100.0),
    }
}

fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let (head, last) = digits.split_at(digits.len().saturating_sub(3));
    if head.len() > 3 {
        let (first, middle) = head.split_at(head.len() - 3);
        return format!("{first},{middle},{last}");
    }
    format!("{head},{last}")
}

/// The value at a quantile; of none it is no number.
pub fn at(sorted: &[f64], quantile: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    let value = sorted.get((last as f64 * quantile).round() as usize);
    value.copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreads_are_written_with_three_digits() {
        let spread = Spread::of([41_234.0, 38_100.0, 45_567.0]).unwrap();
        assert_eq!(spread.to_string(), "41,200 (38,100–45,600)");
        assert_eq!(Spread::of([0.5]).unwrap().to_string(), "0.50");
        assert_eq!(Spread::of([]), None);
        assert_eq!(number(1_234_567.0), "1,234,600");
        assert_eq!(number(1_234.0), "1,230");
    }
}
