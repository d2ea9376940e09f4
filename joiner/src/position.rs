//! How far a partition was read, and what was read there last: an offset alone does not say whose it is (RULE 9). Pure.

use crate::event::Place;
use rtf_proto::Offset;

/// How far a partition was read.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Position {
    /// The next offset to read.
    pub next: Offset,
    /// The last record before it, if there was one.
    pub last: Option<Anchor>,
}

/// A record, by where it stands and what it says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Anchor {
    pub offset: Offset,
    pub crc: u32,
}

impl Anchor {
    /// Of the record that stands there. Its headers do not count: to read them costs as much as all the rest.
    pub fn of(place: Place, key: Option<&[u8]>, value: Option<&[u8]>) -> Self {
        let mut crc = crc32fast::Hasher::new();
        crc.update(&place.kafka_ts.to_le_bytes());
        for part in [key, value] {
            crc.update(&part.map_or(-1, |part| part.len() as i64).to_le_bytes());
            crc.update(part.unwrap_or_default());
        }
        Self {
            offset: place.offset,
            crc: crc.finalize(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_records_at_one_offset_apart() {
        let anchor = |kafka_ts, key, value| {
            let place = Place {
                kafka_ts,
                partition: 0,
                offset: 7,
            };
            Anchor::of(place, key, value)
        };
        let (a, b): (Option<&[u8]>, Option<&[u8]>) = (Some(b"a"), Some(b"b"));
        let one = anchor(1, a, b);
        assert_eq!(one, anchor(1, a, b));
        for other in [
            anchor(2, a, b),
            anchor(1, b, a),
            anchor(1, a, None),
            anchor(1, None, b),
            anchor(1, Some(b""), Some(b"ab")),
            anchor(1, Some(b"ab"), Some(b"")),
        ] {
            assert_ne!(one, other);
        }
    }
}
