//! The decision: which record of an id wins. Pure: no clock, no I/O, no randomness, no setting that differs between
//! replicas. Given the same records in the same order every replica decides alike.

use rtf_proto::partitioner::partition_of;
use rtf_proto::record::{Event, Stamp};
use rtf_proto::{LogId, Offset, Outcome, PartitionId, SourceId, Token};
use rtf_service::mutant;

/// The record that decided an id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Winner {
    /// Its offset.
    pub offset: Offset,
    /// Its attempt chain; not known any more once its bucket is sealed.
    pub token: Option<Token>,
    /// How the event ended.
    pub outcome: Outcome,
}

/// What is remembered of a partition's ids.
pub trait Ids {
    /// Why remembering can fail.
    type Error;
    /// The winner of an id, if it has one, and the partition it was registered in: before a split that was another.
    fn find(&self, id: &[u8]) -> Result<Option<(PartitionId, Winner)>, Self::Error>;
    /// Remembers a winner; the id has none yet.
    fn insert(&mut self, id: &[u8], winner: Winner);
    /// Whether what stands there was resolved once, and may be forgotten.
    fn is_too_old(&self, source: SourceId, offset: Offset) -> bool;
    /// Takes note of a winner that came from there.
    fn won(&mut self, id: &[u8], winner: &Winner, source: SourceId, offset: Offset);
}

/// One partition of one join log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// The log.
    pub log: LogId,
    /// The partition count that holds here.
    pub partitions: u32,
    /// This partition.
    pub partition: PartitionId,
}

/// What became of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decision {
    /// The first of its id: its row is the row.
    Won,
    /// Another record was first.
    Lost(Winner),
    /// Its source lies below the floor: it was resolved once, and is not remembered.
    TooOld,
    /// Written for another log, another partition count or another partition: it decides nothing, in no replica.
    Misplaced,
}

/// Applies one record to what is remembered.
///
/// # Errors
/// What `ids` could not answer; nothing was changed.
pub fn apply<I: Ids>(
    place: &Place,
    ids: &mut I,
    offset: Offset,
    stamp: &Stamp,
    event: &Event<'_>,
) -> Result<Decision, I::Error> {
    if !belongs(place, stamp, event.id) {
        return Ok(Decision::Misplaced);
    }
    let (topic, partition, source_offset) = event.source;
    let source = (topic, partition);
    let winner = match ids.find(event.id)? {
        // Remembered in an earlier life, further than the state that was saved: the same decision again.
        Some((home, winner)) if (home, winner.offset) == (place.partition, offset) => winner,
        Some(_) if mutant::is("second-record-accepted") => return Ok(Decision::Won),
        Some((_, winner)) => return Ok(Decision::Lost(winner)),
        None if ids.is_too_old(source, source_offset) => return Ok(Decision::TooOld),
        None => {
            let winner = Winner {
                offset,
                token: Some(event.token),
                outcome: event.outcome,
            };
            ids.insert(event.id, winner);
            winner
        }
    };
    ids.won(event.id, &winner, source, source_offset);
    Ok(Decision::Won)
}

fn belongs(place: &Place, stamp: &Stamp, id: &[u8]) -> bool {
    stamp.log == place.log
        && stamp.partitions == place.partitions
        && partition_of(id, place.partitions) == place.partition
        && !id.is_empty()
        && id.len() <= rtf_proto::MAX_ID_BYTES
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;
    use rtf_proto::{Incarnation, TopicId};
    use std::collections::HashMap;
    use std::convert::Infallible;

    /// The ten-line model: a map from id to the first that came.
    #[derive(Default, Clone, PartialEq, Debug)]
    pub struct Model(pub HashMap<Vec<u8>, Winner>, pub PartitionId);

    impl Ids for Model {
        type Error = Infallible;
        fn find(&self, id: &[u8]) -> Result<Option<(PartitionId, Winner)>, Infallible> {
            Ok(self.0.get(id).map(|winner| (self.1, *winner)))
        }
        fn insert(&mut self, id: &[u8], winner: Winner) {
            assert!(
                self.0.insert(id.to_vec(), winner).is_none(),
                "a winner is never replaced"
            );
        }
        fn is_too_old(&self, _: SourceId, _: Offset) -> bool {
            false
        }
        fn won(&mut self, _: &[u8], _: &Winner, _: SourceId, _: Offset) {}
    }

    const LOG: LogId = TopicId([1; 16]);

    /// A winner that a parent registered has an offset of the parent's log: the same number here is another record.
    #[test]
    fn an_offset_is_one_of_its_own_partition() {
        let place = Place {
            log: LOG,
            partitions: 1,
            partition: 0,
        };
        let stamp = Stamp {
            log: LOG,
            partitions: 1,
            incarnation: Incarnation(7),
            sequence: 0,
        };
        let event = Event {
            id: b"id",
            outcome: Outcome::Joined,
            token: Token(1),
            source: (LOG, 0, 0),
            later_ts: 0,
            body: b"",
        };
        let winner = Winner {
            offset: 5,
            token: None,
            outcome: Outcome::Malformed,
        };
        let ids = |home| Model(HashMap::from([(b"id".to_vec(), winner)]), home);
        let Ok(again) = apply(&place, &mut ids(0), 5, &stamp, &event);
        assert_eq!(again, Decision::Won, "the same record, in a second life");
        let Ok(other) = apply(&place, &mut ids(1), 5, &stamp, &event);
        assert_eq!(other, Decision::Lost(winner));
    }

    proptest! {
        /// Whatever is appended, by whomever, how often: the first well-placed record of an id wins and stays.
        #[test]
        fn the_first_record_of_an_id_wins(records in prop::collection::vec((0u8..20, any::<u64>(), 0u8..20), 0..200)) {
            let place = Place { log: LOG, partitions: 3, partition: 1 };
            let mut ids = Model(HashMap::new(), 1);
            let mut first: HashMap<String, u64> = HashMap::new();
            for (offset, (id, token, kind)) in records.iter().enumerate() {
                let offset = offset as u64 * 2;
                let id = format!("id-{id}");
                let stamp = Stamp {
                    log: if *kind == 0 { TopicId([2; 16]) } else { LOG },
                    partitions: if *kind == 1 { 4 } else { 3 },
                    incarnation: Incarnation(7),
                    sequence: offset,
                };
                let event = Event { id: id.as_bytes(), outcome: Outcome::Joined, token: Token(*token), source: (LOG, 0, 0), later_ts: 0, body: b"" };
                let Ok(decision) = apply(&place, &mut ids, offset, &stamp, &event);
                let well_placed = *kind > 1 && partition_of(id.as_bytes(), 3) == 1;
                match first.get(&id) {
                    _ if !well_placed => prop_assert_eq!(decision, Decision::Misplaced),
                    None => {
                        prop_assert_eq!(decision, Decision::Won);
                        first.insert(id, offset);
                    }
                    Some(winner) => prop_assert!(matches!(decision, Decision::Lost(w) if w.offset == *winner)),
                }
            }
        }
    }
}
