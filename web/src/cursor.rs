//! How far a reader is: one log offset per partition. Its text (`0:123,3:77`) is the id of a server-sent event and the
//! `before` of a page. It must not know rows or stores.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// Partitions a cursor may name; more is nonsense from outside.
const PARTITIONS_MAX: usize = 4096;
/// The text of a cursor without offsets: an empty event id would make a browser forget where it was.
const EMPTY: &str = "-";

/// One offset per partition. Read forwards it names the newest row that was seen; a partition that is absent was not seen
/// at all. Read backwards (`before`) it names the oldest row that was seen; absent means not seen either.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    offsets: BTreeMap<u32, u64>,
}

impl Cursor {
    /// The partition's offset.
    pub fn get(&self, partition: u32) -> Option<u64> {
        self.offsets.get(&partition).copied()
    }

    /// Puts a partition at an offset.
    pub fn set(&mut self, partition: u32, offset: u64) {
        self.offsets.insert(partition, offset);
    }

    /// Partitions and offsets, by partition.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u64)> + '_ {
        self.offsets
            .iter()
            .map(|(partition, offset)| (*partition, *offset))
    }

    /// Whether the row at this place was seen.
    pub fn covers(&self, partition: u32, offset: u64) -> bool {
        self.get(partition) >= Some(offset)
    }

    /// Whether `other` has seen rows that this one has not.
    pub fn is_behind(&self, other: &Self) -> bool {
        other
            .iter()
            .any(|(partition, offset)| !self.covers(partition, offset))
    }

    /// Moves forward to wherever `other` is further.
    pub fn advance(&mut self, other: &Self) {
        for (partition, offset) in other.iter() {
            if !self.covers(partition, offset) {
                self.set(partition, offset);
            }
        }
    }

    /// Starts every partition anew that ends before where this cursor stands: such a store was emptied or has forgotten.
    /// Says whether there was one.
    pub fn rewind(&mut self, ends: &Self) -> bool {
        let before = self.offsets.len();
        self.offsets
            .retain(|partition, offset| ends.covers(*partition, *offset));
        self.offsets.len() < before
    }
}

impl FromIterator<(u32, u64)> for Cursor {
    fn from_iter<I: IntoIterator<Item = (u32, u64)>>(offsets: I) -> Self {
        Self {
            offsets: offsets.into_iter().collect(),
        }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.offsets.is_empty() {
            return f.write_str(EMPTY);
        }
        for (i, (partition, offset)) in self.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(f, "{comma}{partition}:{offset}")?;
        }
        Ok(())
    }
}

/// A text that is no cursor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a cursor reads like 0:123,3:77, one offset for each partition")]
pub struct BadCursor;

impl FromStr for Cursor {
    type Err = BadCursor;

    fn from_str(text: &str) -> Result<Self, BadCursor> {
        let mut cursor = Self::default();
        if text == EMPTY {
            return Ok(cursor);
        }
        for (i, part) in text.split(',').enumerate() {
            let (partition, offset) = part.split_once(':').ok_or(BadCursor)?;
            let partition = digits(partition)?.try_into().map_err(|_| BadCursor)?;
            let twice = cursor.offsets.insert(partition, digits(offset)?).is_some();
            if twice || i >= PARTITIONS_MAX {
                return Err(BadCursor);
            }
        }
        Ok(cursor)
    }
}

/// Digits only: `parse` alone would take a sign.
fn digits(text: &str) -> Result<u64, BadCursor> {
    if text.bytes().all(|b| b.is_ascii_digit()) {
        text.parse().map_err(|_| BadCursor)
    } else {
        Err(BadCursor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rtf_fuzz::fuzz;

    fn cursor(text: &str) -> Cursor {
        text.parse().unwrap()
    }

    /// What a browser says it has seen: a cursor that is read is written so that it is read the same.
    #[test]
    fn fuzz_cursors() {
        fuzz(
            "cursor",
            &[b"0:123,3:77", b"-", b"4095:18446744073709551615"],
            |input| {
                let text = String::from_utf8_lossy(input);
                if let Ok(cursor) = text.parse::<Cursor>() {
                    assert!(cursor.offsets.len() <= PARTITIONS_MAX);
                    assert_eq!(cursor.to_string().parse(), Ok(cursor));
                }
            },
        );
    }

    #[test]
    fn text_that_is_no_cursor_is_refused() {
        for text in [
            "",
            ",",
            "1",
            "1:",
            ":1",
            "a:1",
            "1:+2",
            "-1:2",
            "1:2,",
            "1:2,1:3",
            "1:99999999999999999999",
        ] {
            assert_eq!(text.parse::<Cursor>(), Err(BadCursor), "{text:?}");
        }
        let many: Vec<String> = (0..=PARTITIONS_MAX).map(|p| format!("{p}:0")).collect();
        assert_eq!(many.join(",").parse::<Cursor>(), Err(BadCursor));
    }

    #[test]
    fn an_emptied_partition_starts_anew() {
        let mut at = cursor("0:5,1:9,2:3");
        assert!(at.rewind(&cursor("0:5,1:8")));
        assert_eq!(at, cursor("0:5"));
        assert!(!at.rewind(&cursor("0:7,4:1")));
    }

    #[test]
    fn absent_is_behind_offset_zero() {
        assert!(cursor("-").is_behind(&cursor("0:0")));
        assert!(!cursor("0:0").is_behind(&cursor("-")));
        assert!(!cursor("0:3,1:1").is_behind(&cursor("0:3")));
    }

    proptest! {
        #[test]
        fn text_and_back(offsets in prop::collection::btree_map(any::<u32>(), any::<u64>(), 0..20)) {
            let cursor: Cursor = offsets.into_iter().collect();
            prop_assert_eq!(cursor.to_string().parse::<Cursor>(), Ok(cursor));
        }

        #[test]
        fn advancing_reaches_both(
            a in prop::collection::btree_map(0u32..6, 0u64..9, 0..6),
            b in prop::collection::btree_map(0u32..6, 0u64..9, 0..6),
        ) {
            let (a, b): (Cursor, Cursor) = (a.into_iter().collect(), b.into_iter().collect());
            let mut both = a.clone();
            both.advance(&b);
            prop_assert!(!both.is_behind(&a) && !both.is_behind(&b));
            prop_assert!(both.iter().all(|(p, o)| a.get(p) == Some(o) || b.get(p) == Some(o)));
        }
    }
}
