//! An event as it lies on disk: its block and where in it things stand, so that nothing is parsed again.

use super::{Block, Event, OrderKind, Span, Stored};
use bytes::{Buf, BufMut};
use std::sync::Arc;

/// Added to an expiry, so that "never", the most frequent, takes one byte.
const NEVER_IS_0: u64 = 2;

impl<B: Block> Event<B> {
    /// Appends the event.
    pub fn encode(&self, out: &mut Vec<u8>) {
        for number in [
            self.partition.into(),
            self.offset,
            zigzag(self.kafka_ts),
            zigzag(self.event_ts.wrapping_sub(self.kafka_ts)),
            zigzag(self.expires).wrapping_add(NEVER_IS_0),
            self.key.at.into(),
            self.key.len.into(),
            self.id_at.into(),
            self.id_len.into(),
            self.payload.into(),
        ] {
            put_varint(out, number);
        }
        match self.order_kind {
            OrderKind::Missing => out.put_u8(0),
            OrderKind::Number => out.put_u8(1),
            OrderKind::Text => out.put_u8(2),
        }
        if self.order_kind != OrderKind::Missing {
            out.put_u64_le(self.order);
        }
        out.put_slice(&self.block);
    }

    /// Whether all spans lie in the block.
    fn is_whole(&self) -> bool {
        let id = Span {
            at: self.id_at,
            len: self.id_len.into(),
        };
        let order = match self.order_kind {
            OrderKind::Text => Span::unpack(self.order),
            _ => Span::default(),
        };
        let lies_within = |span: Span| {
            let end = u64::from(span.at) + u64::from(span.len);
            end <= self.block.len() as u64
        };
        let payload = Span {
            at: 0,
            len: self.payload,
        };
        [payload, self.key, id, order].into_iter().all(lies_within)
    }
}

impl<'b> Stored<'b> {
    /// Reads what [`encode`](Event::encode) wrote; `None` when it is something else.
    pub fn decode(mut bytes: &'b [u8]) -> Option<Self> {
        let mut number = || take_varint(&mut bytes);
        let partition = u32::try_from(number()?).ok()?;
        let offset = number()?;
        let kafka_ts = unzigzag(number()?);
        let event_ts = unzigzag(number()?).wrapping_add(kafka_ts);
        let expires = unzigzag(number()?.wrapping_sub(NEVER_IS_0));
        let mut short = || u32::try_from(number()?).ok();
        let key = Span {
            at: short()?,
            len: short()?,
        };
        let (id_at, id_len, payload) = (short()?, u16::try_from(short()?).ok()?, short()?);
        let order_kind = match bytes.try_get_u8().ok()? {
            0 => OrderKind::Missing,
            1 => OrderKind::Number,
            2 => OrderKind::Text,
            _ => return None,
        };
        let order = match order_kind {
            OrderKind::Missing => 0,
            _ => bytes.try_get_u64_le().ok()?,
        };
        let event = Self {
            block: bytes,
            payload,
            partition,
            offset,
            kafka_ts,
            event_ts,
            expires,
            order,
            key,
            id_at,
            id_len,
            order_kind,
        };
        event.is_whole().then_some(event)
    }

    /// To be kept in memory.
    pub fn to_event(&self) -> Event {
        Event {
            block: Arc::from(self.block),
            payload: self.payload,
            partition: self.partition,
            offset: self.offset,
            kafka_ts: self.kafka_ts,
            event_ts: self.event_ts,
            expires: self.expires,
            order: self.order,
            key: self.key,
            id_at: self.id_at,
            id_len: self.id_len,
            order_kind: self.order_kind,
        }
    }
}

/// Small numbers of either sign become small.
fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)) as u64
}

fn unzigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.put_u8(number as u8 | 0x80);
        number >>= 7;
    }
    out.put_u8(number as u8);
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = bytes.try_get_u8().ok()?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rtf_fuzz::fuzz;

    prop_compose! {
        fn event()(
            block in prop::collection::vec(any::<u8>(), 1..60),
            at in any::<[prop::sample::Index; 6]>(),
            numbers in any::<(u32, u64, i64, i64, i64, u64)>(),
            kind in 0..3,
        ) -> Event {
            let len = block.len();
            let span = |a: prop::sample::Index, b: prop::sample::Index| {
                let (a, b) = (a.index(len), b.index(len));
                Span { at: a.min(b) as u32, len: a.abs_diff(b) as u32 }
            };
            let (partition, offset, kafka_ts, event_ts, expires, order) = numbers;
            let id = span(at[0], at[1]);
            let (order_kind, order) = match kind {
                0 => (OrderKind::Missing, 0),
                1 => (OrderKind::Number, order),
                _ => (OrderKind::Text, span(at[2], at[3]).pack()),
            };
            Event {
                payload: len as u32, block: block.into(), partition, offset, kafka_ts, event_ts, expires, order,
                key: span(at[4], at[5]), id_at: id.at, id_len: id.len as u16, order_kind,
            }
        }
    }

    /// Any bytes: what is read as an event is written so that it is read the same.
    #[test]
    fn fuzz_stored() {
        let mut whole = Vec::new();
        let event = Event {
            block: b"{\"id\":\"p1\",\"from\":\"aus\"}".as_slice(),
            payload: 24,
            partition: 3,
            offset: 1 << 40,
            kafka_ts: 1_700_000_000_000,
            event_ts: 1_600_000_000_000,
            expires: crate::event::NEVER,
            order: Span { at: 1, len: 2 }.pack(),
            key: Span { at: 20, len: 3 },
            id_at: 7,
            id_len: 2,
            order_kind: OrderKind::Text,
        };
        event.encode(&mut whole);
        assert_eq!(Stored::decode(&whole), Some(event));
        fuzz("stored", &[&whole], |input| {
            if let Some(event) = Stored::decode(input) {
                let _ = (event.payload(), event.id(), event.key(), event.candidate());
                let mut again = Vec::new();
                event.encode(&mut again);
                assert_eq!(Stored::decode(&again), Some(event));
            }
        });
    }

    #[test]
    fn never_takes_one_byte() {
        assert_eq!(zigzag(crate::event::NEVER).wrapping_add(NEVER_IS_0), 0);
    }

    proptest! {
        #[test]
        fn an_event_comes_back_as_it_was(event in event()) {
            let mut bytes = Vec::new();
            event.encode(&mut bytes);
            prop_assert_eq!(Stored::decode(&bytes).map(|stored| stored.to_event()), Some(event));
        }

        #[test]
        fn anything_else_is_refused_or_whole(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Some(event) = Stored::decode(&bytes) {
                let _ = (event.payload(), event.id(), event.key(), event.candidate());
            }
        }
    }
}
