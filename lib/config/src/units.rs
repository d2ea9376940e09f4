//! Durations and sizes that cannot be written without a unit.

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A duration such as `100ms`, `30s`, `24h`, `3d`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Span(pub Duration);

/// A size such as `512KiB`, `64MiB`, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Size(pub u64);

/// Units of a duration, the largest first, in nanoseconds.
const SPANS: [(&str, u128); 7] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];
const SIZES: [(&str, u128); 5] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        whole(f, self.0.as_nanos(), &SPANS, "0s")
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        whole(f, self.0.into(), &SIZES, "0B")
    }
}

/// In the largest unit that gives a whole number, so that nothing is rounded.
fn whole(
    f: &mut fmt::Formatter<'_>,
    amount: u128,
    units: &[(&str, u128)],
    zero: &str,
) -> fmt::Result {
    match units
        .iter()
        .find(|(_, unit)| amount > 0 && amount.is_multiple_of(*unit))
    {
        Some((name, unit)) => write!(f, "{}{name}", amount / unit),
        None => f.write_str(zero),
    }
}

struct SpanVisitor;

impl Visitor<'_> for SpanVisitor {
    type Value = Span;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration with a unit, such as \"100ms\", \"30s\", \"24h\" or \"3d\"")
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<Span, E> {
        let bad = || E::invalid_value(de::Unexpected::Str(text), &self);
        text.parse().map_err(|_| bad())
    }
}

/// As it is written in a configuration.
impl FromStr for Span {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        humantime::parse_duration(text)
            .map(Self)
            .map_err(|_| "expected a duration with a unit, such as 100ms, 30s or 24h".into())
    }
}

struct SizeVisitor;

impl Visitor<'_> for SizeVisitor {
    type Value = Size;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a size with a unit, such as \"512KiB\", \"64MiB\" or \"4GiB\"")
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<Size, E> {
        let bad = || E::invalid_value(de::Unexpected::Str(text), &self);
        if !text.ends_with(|last: char| last.is_ascii_alphabetic()) {
            return Err(bad());
        }
        text.parse::<bytesize::ByteSize>()
            .map(|size| Size(size.as_u64()))
            .map_err(|_| bad())
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SpanVisitor)
    }
}
impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SizeVisitor)
    }
}
impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(text: &str) -> Result<Span, serde_json::Error> {
        serde_json::from_value(text.into())
    }

    fn size(text: &str) -> Result<Size, serde_json::Error> {
        serde_json::from_value(text.into())
    }

    #[test]
    fn what_is_shown_is_read_as_the_same() {
        for text in ["0s", "1ns", "1500us", "200ms", "90s", "1m", "36h", "3d"] {
            let read = span(text).unwrap();
            assert_eq!(span(&read.to_string()).unwrap(), read, "{text}");
        }
        for text in ["0B", "1B", "1000KB", "512KiB", "64MiB", "4GiB", "1TiB"] {
            let read = size(text).unwrap();
            assert_eq!(size(&read.to_string()).unwrap(), read, "{text}");
        }
        assert_eq!(span("24h").unwrap().to_string(), "1d");
        assert_eq!(size("1024MiB").unwrap().to_string(), "1GiB");
    }

    #[test]
    fn a_number_alone_is_refused() {
        for text in ["30", "", "h", "-1s", "3 apples", "1.5"] {
            assert!(span(text).is_err(), "{text}");
        }
        for text in ["4", "", "MiB", "-1MiB", "4 apples"] {
            assert!(size(text).is_err(), "{text}");
        }
        assert!(serde_json::from_value::<Span>(30.into()).is_err());
        assert!(serde_json::from_value::<Size>(30.into()).is_err());
    }
}
