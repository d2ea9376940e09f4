//! Rows as one server-sent event, encoded once for every browser. Pure; it must not know who receives it.

use crate::{Cursor, Row};
use bytes::{BufMut, Bytes, BytesMut};
use std::fmt::Display;
use std::ops::Range;

/// Bytes of a frame beside its rows, about.
const FRAME_BYTES: usize = 512;

/// New rows between two cursors, as the text of one event `rows` whose id is `to`.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) from: Cursor,
    pub(crate) to: Cursor,
    pub(crate) text: Bytes,
    slots: Vec<Slot>,
}

/// Where a row stands in the text.
#[derive(Clone, Debug)]
struct Slot {
    partition: u32,
    offset: u64,
    json: Range<usize>,
}

impl Frame {
    /// Puts the rows into the order of display.
    pub(crate) fn new(from: Cursor, to: Cursor, mut rows: Vec<Row>) -> Self {
        rows.sort_by_key(Row::rank);
        let bytes: usize = rows.iter().map(|row| row.json.len() + 1).sum();
        let mut text = open(&to, bytes);
        let mut slots = Vec::with_capacity(rows.len());
        for row in rows {
            let json = put(&mut text, slots.is_empty(), &row.json);
            slots.push(Slot {
                partition: row.partition,
                offset: row.offset,
                json,
            });
        }
        Self {
            from,
            to,
            text: close(text),
            slots,
        }
    }

    /// The number of rows.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The event for a reader that has seen some of the rows already, and how many are left for it. Its id is `id`.
    pub(crate) fn unseen(&self, seen: &Cursor, id: &Cursor) -> (Bytes, usize) {
        let mut text = open(id, self.text.len());
        let mut count = 0;
        for slot in self
            .slots
            .iter()
            .filter(|slot| !seen.covers(slot.partition, slot.offset))
        {
            put(&mut text, count == 0, &self.text[slot.json.clone()]);
            count += 1;
        }
        (close(text), count)
    }
}

/// An event without rows that puts the browser's last event id here.
pub(crate) fn place(cursor: &Cursor) -> Bytes {
    format!("id: {cursor}\n\n").into()
}

/// An event with a JSON value.
pub(crate) fn event(name: &str, data: &serde_json::Value) -> Bytes {
    format!("event: {name}\ndata: {data}\n\n").into()
}

fn open(id: &impl Display, bytes: usize) -> BytesMut {
    let mut text = BytesMut::with_capacity(FRAME_BYTES + bytes);
    text.put_slice(format!("event: rows\nid: {id}\ndata: [").as_bytes());
    text
}

/// A line break ends a line of the event; in JSON it can only stand between tokens, where a space does the same.
fn put(text: &mut BytesMut, first: bool, json: &[u8]) -> Range<usize> {
    if !first {
        text.put_u8(b',');
    }
    let start = text.len();
    text.put_slice(json);
    for byte in &mut text[start..] {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    start..text.len()
}

fn close(mut text: BytesMut) -> Bytes {
    text.put_slice(b"]\n\n");
    text.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(partition: u32, offset: u64, joined_ts: i64, json: &'static str) -> Row {
        Row {
            partition,
            offset,
            joined_ts,
            key: String::new(),
            json: Bytes::from_static(json.as_bytes()),
        }
    }

    fn frame() -> Frame {
        let rows = vec![
            row(1, 4, 9, "{\"b\":\r\n2}"),
            row(0, 8, 7, "{}"),
            row(0, 9, 9, "3"),
        ];
        Frame::new("0:7".parse().unwrap(), "0:9,1:4".parse().unwrap(), rows)
    }

    #[test]
    fn rows_are_one_event_in_the_order_of_display() {
        let text = String::from_utf8(frame().text.to_vec()).unwrap();
        assert_eq!(
            text,
            "event: rows\nid: 0:9,1:4\ndata: [{},3,{\"b\":  2}]\n\n"
        );
    }

    #[test]
    fn a_reader_gets_what_it_has_not_seen() {
        let (text, count) =
            frame().unseen(&"0:8,2:1".parse().unwrap(), &"0:9,1:4,2:1".parse().unwrap());
        assert_eq!(
            &text[..],
            b"event: rows\nid: 0:9,1:4,2:1\ndata: [3,{\"b\":  2}]\n\n"
        );
        assert_eq!(count, 2);
    }
}
