//! What tests of the event store share: rows, and the store by hand.

use crate::event::{Event, EventReader, Place};
use crate::{Direction, Options, Policy};
use proptest::prelude::*;
use rtf_json::{Folding, Parts};

pub fn options(policy: Policy) -> Options {
    Options {
        topic: "deals".into(),
        id: vec!["/id".into()],
        key: vec!["/k".into()],
        time: None,
        expires: Some("/gone".into()),
        folding: Folding::default(),
        policy,
        data: None,
        memory_bytes: 1 << 20,
        wanted_keys: 10,
        batches_in_flight: 1,
    }
}

#[derive(Clone, Debug)]
pub struct Row {
    pub id: u8,
    pub key: u8,
    pub fare: i32,
    pub gone: Option<i64>,
    pub place: Place,
}

impl Row {
    pub fn read(&self, reader: &EventReader) -> Event {
        let Self {
            id,
            key,
            fare,
            gone,
            ..
        } = self;
        let gone = gone.map_or("null".into(), |at| at.to_string());
        let json = format!(r#"{{"id":"p{id}","k":"k{key}","fare":{fare},"gone":{gone}}}"#);
        reader
            .read(&Parts::of(json.as_bytes()), self.place)
            .unwrap()
    }
}

/// The store by hand: a list of rows.
#[derive(Clone, Default)]
pub struct Naive(pub Vec<Row>);

impl Naive {
    fn is_older(&self, id: u8, place: Place) -> bool {
        self.0.iter().any(|row| {
            row.id == id
                && row.place.partition != place.partition
                && (row.place.kafka_ts, row.place.partition) > (place.kafka_ts, place.partition)
        })
    }
    pub fn upsert(&mut self, row: Row, now_ms: i64) {
        if !self.is_older(row.id, row.place) {
            self.0.retain(|other| other.id != row.id);
            if row.gone.is_none_or(|at| at > now_ms) {
                self.0.push(row);
            }
        }
    }
    pub fn delete(&mut self, id: u8, place: Place) {
        if !self.is_older(id, place) {
            self.0.retain(|other| other.id != id);
        }
    }
    pub fn find(&self, key: u8, now_ms: i64, policy: &Policy) -> Vec<Place> {
        let live = |row: &&Row| row.key == key && row.gone.is_none_or(|at| at > now_ms);
        let mut rows: Vec<&Row> = self.0.iter().filter(live).collect();
        let place = |row: &&Row| (row.place.kafka_ts, row.place.partition, row.place.offset);
        rows.sort_by_key(place);
        match policy {
            Policy::First => rows.truncate(1),
            Policy::Latest => {
                rows.reverse();
                rows.truncate(1);
            }
            Policy::All { limit } => rows.truncate(*limit),
            Policy::Best {
                direction, limit, ..
            } => {
                match direction {
                    Direction::Ascending => rows.sort_by_key(|row| row.fare),
                    Direction::Descending => rows.sort_by_key(|row| -row.fare),
                }
                rows.truncate(*limit);
            }
        }
        rows.iter().map(|row| row.place).collect()
    }

    /// What expired in a minute that is over is as if it had never been.
    pub fn age(&mut self, now_ms: i64) {
        let minute = now_ms.div_euclid(60_000) * 60_000;
        self.0.retain(|row| row.gone.is_none_or(|at| at >= minute));
    }
}

pub fn policy() -> impl Strategy<Value = Policy> {
    let direction = prop_oneof![Just(Direction::Ascending), Just(Direction::Descending)];
    prop_oneof![
        Just(Policy::First),
        Just(Policy::Latest),
        (1usize..5).prop_map(|limit| Policy::All { limit }),
        (1usize..5, direction).prop_map(|(limit, direction)| Policy::Best {
            order_by: "/fare".into(),
            direction,
            limit
        }),
    ]
}
