//! The match policy: which of a key's primary events become partners, and in which order. Pure.
//!
//! Every policy is a total order over the events of a key and a number of events to take from its front, so that the
//! answer depends on the events alone, not on when they were read. Ties end at an event's place: Kafka's timestamp,
//! then partition, then offset. An event that was updated has the place of its update.

use std::cmp::Ordering;

/// Which partners a foreign event gets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Policy {
    /// The one with the lowest place: Kafka timestamp, then partition, then offset.
    First,
    /// The one with the highest place.
    Latest,
    /// The best by a field. Numbers compare as numbers and come first, then strings, by their bytes; events where
    /// the field is missing, empty or anything else come last, in either direction. Ties go by place.
    Best {
        /// JSON pointer to the field.
        order_by: String,
        /// Which end is best.
        direction: Direction,
        /// How many at the most; 0 counts as 1.
        limit: usize,
    },
    /// All, by place.
    All {
        /// How many at the most; 0 counts as 1.
        limit: usize,
    },
}

/// Which end of an order is best.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// The smallest.
    Ascending,
    /// The largest.
    Descending,
}

/// What an event is ordered by.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum OrderValue<'a> {
    /// Never NaN: JSON has none.
    Number(f64),
    /// UTF-8.
    Text(&'a [u8]),
    Missing,
}

/// What a policy looks at.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Candidate<'a> {
    pub value: OrderValue<'a>,
    pub kafka_ts: i64,
    pub partition: u32,
    pub offset: u64,
}

impl Policy {
    /// The pointer whose value events are ordered by, if any.
    pub(crate) fn order_by(&self) -> Option<&str> {
        match self {
            Self::Best { order_by, .. } => Some(order_by),
            _ => None,
        }
    }

    /// How many partners there are at the most.
    pub(crate) fn limit(&self) -> usize {
        match self {
            Self::First | Self::Latest => 1,
            Self::Best { limit, .. } | Self::All { limit } => (*limit).max(1),
        }
    }

    /// Where about a candidate stands: what comes before another has no higher rank. Most comparisons end here.
    pub(crate) fn rank(&self, candidate: &Candidate<'_>) -> u32 {
        let Self::Best { direction, .. } = self else {
            return 0;
        };
        let is_up = *direction == Direction::Ascending;
        match candidate.value {
            OrderValue::Number(number) if is_up => number_rank(number),
            OrderValue::Number(number) => TEXTS - 1 - number_rank(number),
            OrderValue::Text(text) if is_up => TEXTS + text_rank(text),
            OrderValue::Text(text) => TEXTS_END - 1 - text_rank(text),
            OrderValue::Missing => u32::MAX,
        }
    }

    /// Which of two comes first.
    pub(crate) fn compare(&self, a: &Candidate<'_>, b: &Candidate<'_>) -> Ordering {
        match self {
            Self::First | Self::All { .. } => by_place(a, b),
            Self::Latest => by_place(b, a),
            Self::Best { direction, .. } => {
                by_value(*direction, a.value, b.value).then_with(|| by_place(a, b))
            }
        }
    }
}

/// The bits of a number that are equal in rank with its neighbours'.
const RANK_SHIFT: u32 = 34;
/// Ranks of numbers lie below, those of texts above.
const TEXTS: u32 = 1 << 30;
/// Ranks of texts lie below.
const TEXTS_END: u32 = TEXTS + (1 << 24);

/// The first 30 bits of a number, so that they compare as the number does.
fn number_rank(number: f64) -> u32 {
    let bits = number.to_bits();
    let ordered = match bits >> 63 {
        0 => bits | 1 << 63,
        _ => !bits,
    };
    (ordered >> RANK_SHIFT) as u32
}

/// The first three bytes of a text.
fn text_rank(text: &[u8]) -> u32 {
    let byte = |at| u32::from(text.get(at).copied().unwrap_or(0));
    byte(0) << 16 | byte(1) << 8 | byte(2)
}

fn by_place(a: &Candidate<'_>, b: &Candidate<'_>) -> Ordering {
    (a.kafka_ts, a.partition, a.offset).cmp(&(b.kafka_ts, b.partition, b.offset))
}

fn by_value(direction: Direction, a: OrderValue<'_>, b: OrderValue<'_>) -> Ordering {
    use OrderValue::{Missing, Number, Text};
    let directed = |order: Ordering| match direction {
        Direction::Ascending => order,
        Direction::Descending => order.reverse(),
    };
    match (a, b) {
        (Number(a), Number(b)) => directed(a.total_cmp(&b)),
        (Text(a), Text(b)) => directed(a.cmp(b)),
        (Missing, Missing) => Ordering::Equal,
        (Number(_), _) | (Text(_), Missing) => Ordering::Less,
        (_, Number(_)) | (Missing, Text(_)) => Ordering::Greater,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn best(direction: Direction) -> Policy {
        Policy::Best {
            order_by: "/x".into(),
            direction,
            limit: 3,
        }
    }

    /// The best by hand: kind first, then value, then place.
    fn naive(direction: Direction, mut all: Vec<Candidate<'static>>) -> Vec<Candidate<'static>> {
        all.sort_by_key(|c| (c.kafka_ts, c.partition, c.offset));
        let mut sorted = Vec::new();
        let numbers = |c: &&Candidate<'static>| matches!(c.value, OrderValue::Number(_));
        let texts = |c: &&Candidate<'static>| matches!(c.value, OrderValue::Text(_));
        let number = |c: &Candidate<'static>| match c.value {
            OrderValue::Number(n) => (n * 4.0) as i64,
            _ => 0,
        };
        let text = |c: &Candidate<'static>| match c.value {
            OrderValue::Text(text) => text,
            _ => b"",
        };
        let mut group: Vec<_> = all.iter().filter(numbers).copied().collect();
        match direction {
            Direction::Ascending => group.sort_by_key(number),
            Direction::Descending => group.sort_by_key(|c| -number(c)),
        }
        sorted.append(&mut group);
        let mut group: Vec<_> = all.iter().filter(texts).copied().collect();
        match direction {
            Direction::Ascending => group.sort_by_key(text),
            Direction::Descending => group.sort_by_key(|c| std::cmp::Reverse(text(c))),
        }
        sorted.append(&mut group);
        sorted.extend(all.iter().filter(|c| c.value == OrderValue::Missing));
        sorted
    }

    fn candidate() -> impl Strategy<Value = Candidate<'static>> {
        let value = prop_oneof![
            (-9i32..9).prop_map(|n| OrderValue::Number(f64::from(n) / 4.0)),
            prop::sample::select(vec!["", "1", "10", "9", "a"])
                .prop_map(|t| OrderValue::Text(t.as_bytes())),
            Just(OrderValue::Missing),
        ];
        (value, 0i64..3, 0u32..2, any::<u64>()).prop_map(|(value, kafka_ts, partition, offset)| {
            Candidate {
                value,
                kafka_ts,
                partition,
                offset,
            }
        })
    }

    proptest! {
        #[test]
        fn best_is_what_it_is_by_hand(all in prop::collection::vec(candidate(), 0..20), down: bool) {
            let direction = if down { Direction::Descending } else { Direction::Ascending };
            let mut sorted = all.clone();
            sorted.sort_by(|a, b| best(direction).compare(a, b));
            prop_assert_eq!(sorted, naive(direction, all));
        }

        #[test]
        fn ranks_agree_with_the_order(a in candidate(), b in candidate(), numbers: (f64, f64), down: bool, are_numbers: bool) {
            let direction = if down { Direction::Descending } else { Direction::Ascending };
            let (mut a, mut b) = (a, b);
            if are_numbers && !numbers.0.is_nan() && !numbers.1.is_nan() {
                (a.value, b.value) = (OrderValue::Number(numbers.0), OrderValue::Number(numbers.1));
            }
            for policy in [Policy::First, Policy::Latest, best(direction)] {
                let by_rank = policy.rank(&a).cmp(&policy.rank(&b));
                prop_assert!(by_rank.is_eq() || by_rank == policy.compare(&a, &b), "{:?} {:?}", a, b);
            }
        }

        #[test]
        fn latest_is_first_from_behind(all in prop::collection::vec(candidate(), 0..20)) {
            let mut first = all.clone();
            first.sort_by(|a, b| Policy::First.compare(a, b));
            first.reverse();
            let mut latest = all;
            latest.sort_by(|a, b| Policy::Latest.compare(a, b));
            let offsets = |v: &[Candidate<'_>]| v.iter().map(|c| c.offset).collect::<Vec<_>>();
            prop_assert_eq!(offsets(&first), offsets(&latest));
        }
    }

    #[test]
    fn limits_are_at_least_one() {
        assert_eq!(Policy::First.limit(), 1);
        assert_eq!(Policy::All { limit: 0 }.limit(), 1);
        assert_eq!(best(Direction::Ascending).limit(), 3);
    }
}
