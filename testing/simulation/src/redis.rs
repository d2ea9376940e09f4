//! The simulated Redis: streams that compare and append as the script of the real sink does, over a server that fails over and forgets, is
//! flushed, and does not answer. What a wrong answer on a reused connection is (RULE 21) the real sink notices, and gives as none: here too it is none.

use crate::check::rows;
use crate::life::Life;
use crate::plan::Fault;
use crate::trace::trace;
use crate::world::{World, world};
use async_trait::async_trait;
use bytes::Bytes;
use rand::Rng;
use rtf_proto::{LogId, Offset, PartitionId};
use rtf_publisher::sink::{AppendOutcome, GIVE_WAY, Place, Row, Sink, SinkError};
use rtf_service::mutant;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A call is given up after so long, ms.
const GIVEN_UP_MS: u64 = 500;
/// What was given up arrives within this, ms.
const LATE_MS: u64 = 5_000;

/// One stream.
#[derive(Default, Debug)]
pub struct Stream {
    /// The log it was written from.
    log: Option<LogId>,
    /// Its entries.
    pub rows: Vec<(Offset, Bytes)>,
}

/// The server.
#[derive(Default, Debug)]
pub struct Redis {
    /// By partition.
    pub streams: BTreeMap<PartitionId, Stream>,
}

impl Redis {
    /// A failover to a replica that has not all rows.
    pub fn forget(&mut self, random: &mut impl Rng) {
        for stream in self.streams.values_mut() {
            let kept = random.random_range(0..=stream.rows.len());
            stream
                .rows
                .truncate(kept.max(stream.rows.len().saturating_sub(50)));
        }
    }

    /// Everything goes.
    pub fn flush(&mut self) {
        self.streams.clear();
    }

    fn append(
        &mut self,
        place: Place,
        expected: Option<Offset>,
        rows: &[Row],
    ) -> Result<AppendOutcome, SinkError> {
        let stream = self.streams.entry(place.partition).or_default();
        let last = stream.rows.last().map(|(offset, _)| *offset);
        if last.is_some() && stream.log != Some(place.log) {
            return Err(SinkError::Unavailable("another log's".into()));
        }
        if last != expected && !mutant::is("cursor-not-compared") {
            return Ok(AppendOutcome::Moved { last });
        }
        stream.log = Some(place.log);
        let rows = rows.iter().map(|row| (row.offset, row.payload.clone()));
        stream.rows.extend(rows);
        let last = stream.rows.last().map(|(offset, _)| *offset);
        Ok(last.map_or(AppendOutcome::Moved { last }, |last| {
            AppendOutcome::Appended { last }
        }))
    }
}

/// Redis, as one process reaches it.
pub struct RedisOf(pub Arc<Life>);

/// What goes wrong with a call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trouble {
    Refused,
    Unheard,
    Late,
}

fn trouble(world: &World) -> Option<Trouble> {
    world.random(|random| {
        let mut hit = |fault, per_thousand| {
            world.suffers(fault) && random.random_range(0..1000) < per_thousand
        };
        if hit(Fault::RedisSilent, 100) {
            return Some(Trouble::Refused);
        }
        if hit(Fault::RedisSilent, 100) {
            return Some(Trouble::Unheard);
        }
        hit(Fault::RedisLate, 100).then_some(Trouble::Late)
    })
}

impl RedisOf {
    async fn call(
        &self,
        place: Place,
        expected: Option<Offset>,
        rows: &[Row],
    ) -> Result<AppendOutcome, SinkError> {
        self.0.running().await;
        tokio::time::sleep(Duration::from_millis(1)).await;
        let silence = || SinkError::Unavailable("the simulated Redis does not answer".into());
        let Some(trouble) = world().map(|world| trouble(&world)) else {
            return Err(silence());
        };
        if trouble == Some(Trouble::Late) {
            arrive_late(place, expected, rows.to_vec());
        }
        let answer = match trouble {
            Some(Trouble::Refused | Trouble::Late) => Err(silence()),
            _ => world().map_or_else(
                || Err(silence()),
                |world| world.append(place, expected, rows),
            ),
        };
        if trouble.is_some() {
            tokio::time::sleep(Duration::from_millis(GIVEN_UP_MS)).await;
        }
        self.0.running().await;
        match trouble {
            Some(_) => Err(silence()),
            None => answer,
        }
    }
}

/// The publisher has given it up, and it arrives all the same.
fn arrive_late(place: Place, expected: Option<Offset>, rows: Vec<Row>) {
    let Some(world) = world() else { return };
    let after = world.random(|random| random.random_range(GIVEN_UP_MS..LATE_MS));
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(after)).await;
        if let Some(world) = crate::world::world() {
            trace!("an append to stream {} arrives late", place.partition);
            let _ = world.append(place, expected, &rows);
        }
    });
}

impl World {
    fn append(
        &self,
        place: Place,
        expected: Option<Offset>,
        rows: &[Row],
    ) -> Result<AppendOutcome, SinkError> {
        let answer = match rows {
            // Asked where it ends.
            [] => {
                let redis = self.redis.borrow();
                let stream = redis.streams.get(&place.partition);
                let last = stream.and_then(|stream| stream.rows.last());
                let last = last.map(|(offset, _)| *offset);
                return Ok(AppendOutcome::Moved { last });
            }
            rows => self.redis.borrow_mut().append(place, expected, rows),
        };
        trace!(
            "stream {}: {} rows: {answer:?}",
            place.partition,
            rows.len()
        );
        if let Ok(AppendOutcome::Appended { .. }) = answer {
            let offsets = rows.iter().map(|row| row.offset);
            let ledger = self.ledger.borrow();
            if let Err(words) = rows::check_append(&ledger, place.partition, expected, offsets) {
                self.violated(rows::INVARIANT, words);
            }
        }
        answer
    }
}

#[async_trait]
impl Sink for RedisOf {
    async fn last(&self, place: Place) -> Result<Option<Offset>, SinkError> {
        Ok(match self.call(place, None, &[]).await? {
            AppendOutcome::Moved { last } => last,
            AppendOutcome::Appended { last } => Some(last),
        })
    }

    async fn append(
        &self,
        place: Place,
        expected_last: Option<Offset>,
        rows: &[Row],
    ) -> Result<AppendOutcome, SinkError> {
        self.call(place, expected_last, rows).await
    }

    fn give_way(&self) -> Duration {
        GIVE_WAY
    }

    fn subject(&self, partition: PartitionId) -> String {
        format!("stream {partition} of the simulated Redis")
    }

    fn remedy(&self, _partition: PartitionId) -> String {
        "there is none".into()
    }
}
