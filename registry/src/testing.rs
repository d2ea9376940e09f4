//! What the tests of several modules share: one replica's halves without a broker.

use crate::applier::{Applier, LogRecord};
use crate::handle::Shared;
use crate::lanes::Lanes;
use crate::lineage::Lineage;
use crate::remembered::Remembered;
use crate::store::{State, Store};
use crate::writer::Writer;
use bytes::Bytes;
use rtf_kafka::{AppenderOptions, Settings};
use rtf_proto::record::{Body, Stamp, encode_barrier, encode_event};
use rtf_proto::{
    EventId, Incarnation, LogId, Offset, Outcome, Registration, Source, Token, TopicId,
};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub const LOG: LogId = TopicId([1; 16]);

/// The log's topic, as a writer is told of it.
pub fn appends() -> AppenderOptions {
    AppenderOptions {
        topic: "t".into(),
        linger: Duration::from_millis(1),
        delivery_timeout: Duration::from_secs(60),
        max_record_bytes: 1 << 20,
        queue_bytes: 1 << 20,
        tells_delivered: true,
    }
}

/// What a replica's halves share, with nobody at the other end.
pub fn shared(data: &Path, lanes: &Arc<Lanes>) -> Shared {
    let settings = Settings {
        bootstrap: "127.0.0.1:1".into(),
        embedded: true,
        ..Settings::default()
    };
    let (writer, _) = Writer::open(settings.clone(), appends(), LOG, lanes.clone()).unwrap();
    Shared::new(
        settings,
        "t".into(),
        LOG,
        data.into(),
        writer,
        lanes.clone(),
    )
}

/// An event that was joined.
pub fn registration(id: &str, token: u64) -> Registration {
    let source = Source {
        topic: "t".into(),
        topic_id: TopicId([8; 16]),
        partition: 0,
        offset: token,
    };
    let row = Bytes::from_static(b"row");
    Registration {
        id: EventId::from(id),
        outcome: Outcome::Joined,
        source,
        token: Token(token),
        later_ts: 0,
        body: Body::Joined { row }.encode(),
    }
}

fn stamp(incarnation: Incarnation, sequence: u64) -> Stamp {
    Stamp {
        log: LOG,
        partitions: 1,
        incarnation,
        sequence,
    }
}

/// A barrier of some writer.
pub fn barrier(incarnation: Incarnation, sequence: u64) -> Vec<u8> {
    let mut value = Vec::new();
    encode_barrier(&stamp(incarnation, sequence), &mut value);
    value
}

/// The applying half over a log of one partition.
pub struct One {
    pub shared: Arc<Shared>,
    pub store: Arc<Store>,
    pub applier: Applier,
}

impl One {
    /// Nothing is applied yet, but for what `state` says.
    pub fn open(data: &Path, state: &State, skip: &[Offset]) -> Self {
        let lanes = Arc::new(Lanes::new(1, None));
        let mut shared = shared(data, &lanes);
        shared.skip = skip.iter().map(|offset| (0, *offset)).collect();
        let shared = Arc::new(shared);
        let store = Arc::new(Store::open(data, "t", LOG).unwrap());
        let remembered = Remembered::fresh(0, Lineage::root(1), &store).unwrap();
        let lane = lanes.add(0, remembered, state.next);
        let mut applier = Applier::new(shared.clone(), store.clone());
        applier.resume(lane, state, state.anchor, None);
        Self {
            shared,
            store,
            applier,
        }
    }

    /// Applies a record without a key.
    pub fn apply(&mut self, offset: Offset, value: &[u8]) -> Result<(), crate::RegistryFailure> {
        self.apply_keyed(offset, None, value)
    }

    /// Applies an event of this id.
    pub fn event(&mut self, offset: Offset, id: &str) {
        let mut value = Vec::new();
        let item = registration(id, offset);
        encode_event(&stamp(Incarnation(9), offset), &item, &mut value);
        self.apply_keyed(offset, Some(id.as_bytes()), &value)
            .unwrap();
    }

    fn apply_keyed(
        &mut self,
        offset: Offset,
        key: Option<&[u8]>,
        value: &[u8],
    ) -> Result<(), crate::RegistryFailure> {
        self.applier.apply(&LogRecord {
            partition: 0,
            offset,
            append_ms: 1000,
            key,
            value: Some(value),
        })
    }
}
