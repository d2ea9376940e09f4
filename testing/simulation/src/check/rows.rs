//! Each joined row is in Redis once, in log order, under its offset; and no other row is there.

use crate::ledger::Ledger;
use crate::redis::Redis;
use rtf_proto::row::close;
use rtf_proto::{Offset, PartitionId};

/// The promise.
pub const INVARIANT: &str = "Redis holds each joined row once, in log order";

/// Whether Redis has as many rows as it must.
pub fn is_complete(ledger: &Ledger, redis: &Redis) -> bool {
    let rows: usize = redis.streams.values().map(|stream| stream.rows.len()).sum();
    rows >= ledger.joined.len()
}

/// What is wrong with rows that were just appended behind others, if anything: they must be the very next ones of the log.
pub fn check_append(
    ledger: &Ledger,
    partition: PartitionId,
    behind: Option<Offset>,
    rows: impl Iterator<Item = Offset>,
) -> Result<(), String> {
    let from = behind.map_or(0, |behind| behind + 1);
    let mut next = ledger.joined.range((partition, from)..);
    for offset in rows {
        match next.next() {
            Some((place, _)) if *place == (partition, offset) => {}
            next => {
                return Err(format!(
                    "stream {partition} got {offset} where {next:?} must be"
                ));
            }
        }
    }
    Ok(())
}

/// What is wrong when all is done, if anything.
pub fn check(ledger: &Ledger, redis: &Redis) -> Result<(), String> {
    let streams = redis.streams.iter();
    let mut found = streams.flat_map(|(partition, stream)| {
        let rows = stream.rows.iter();
        rows.map(|(offset, row)| ((*partition, *offset), row))
    });
    for (place, id) in &ledger.joined {
        let entry = &ledger.winners[id];
        let (partition, offset) = *place;
        let wanted = close(&entry.body, entry.logged_ms, offset, partition);
        match found.next() {
            Some((at, row)) if at == *place && *row == wanted => {}
            other => {
                return Err(format!(
                    "{other:?} stands where the row of {place:?} must be"
                ));
            }
        }
    }
    match found.next() {
        Some((place, _)) => Err(format!("what stands at {place:?} is no row")),
        None => Ok(()),
    }
}
