//! What a sink gets of the log: which accepted records, and as what. Pure.

use crate::letter::{self, LetterOptions};
use crate::sink::{Place, Row};
use rtf_proto::record::Body;
use rtf_proto::{Accepted, EventId, Outcome, Outcomes, Source, row};

/// What is carried into a sink.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Content {
    /// The rows: of joined events, and of those that found no partner if those are wanted as rows too (a left join).
    Rows {
        /// Whether they are.
        emit_unjoinable: bool,
    },
    /// The originals of what was given up or could not be read.
    DeadLetters(LetterOptions),
}

impl Content {
    /// [`name`](Self::name) of rows.
    pub(crate) const ROWS: &str = "rows";

    /// What metrics call it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Rows { .. } => Self::ROWS,
            Self::DeadLetters(_) => "dead_letters",
        }
    }

    /// What traces call the way of one of them.
    pub(crate) fn step(&self) -> &'static str {
        match self {
            Self::Rows { .. } => "publish",
            Self::DeadLetters(_) => "publish dead letter",
        }
    }

    /// Which records of the log may be for it: of a log that is mostly rows a reader of dead letters is handed nearly nothing.
    pub(crate) fn outcomes(&self) -> Outcomes {
        match self {
            Self::Rows { .. } => Outcomes::All,
            Self::DeadLetters(_) => Outcomes::NotJoined,
        }
    }

    /// What the accepted record is for the sink, if it is anything.
    ///
    /// # Errors
    /// It is not what its outcome says: a broken record of ours (RULE 8).
    pub(crate) fn row(&self, place: Place, accepted: Accepted) -> Result<Option<Row>, String> {
        if !self.wants(accepted.outcome) {
            return Ok(None);
        }
        let (offset, later_ts) = (accepted.offset, accepted.later_ts);
        let payload = match self {
            Self::Rows { .. } => closed(place, accepted),
            Self::DeadLetters(options) => letter::write(options, place, accepted),
        };
        let broken = || {
            let partition = place.partition;
            format!(
                "the record at offset {offset} of partition {partition} of the join log has no {}",
                self.item()
            )
        };
        let payload = payload.ok_or_else(broken)?;
        Ok(Some(Row {
            offset,
            later_ts,
            payload,
        }))
    }

    /// The event's id, of an accepted record that this content wants. The log has it, the record's readers have only what was made of it.
    pub(crate) fn event_id(&self, accepted: &Accepted) -> Option<EventId> {
        let body = Body::decode(accepted.outcome, accepted.body.clone())?;
        match (body.row(), self) {
            (Some(row), _) => row::id(row),
            (None, Self::DeadLetters(options)) => {
                let ((topic_id, partition), offset) = accepted.source;
                let topic = options.source_topic.as_str().into();
                let source = Source {
                    topic,
                    topic_id,
                    partition,
                    offset,
                };
                Some(source.event_id())
            }
            (None, Self::Rows { .. }) => None,
        }
    }

    /// What one of them is called.
    fn item(&self) -> &'static str {
        match self {
            Self::Rows { .. } => "row",
            Self::DeadLetters(_) => "original",
        }
    }

    pub(crate) fn wants(&self, outcome: Outcome) -> bool {
        match (self, outcome) {
            (Self::Rows { .. }, Outcome::Joined) => true,
            (Self::Rows { emit_unjoinable }, Outcome::Unjoinable(_)) => *emit_unjoinable,
            (Self::Rows { .. }, Outcome::Malformed) => false,
            (Self::DeadLetters(options), outcome) => options.wants(outcome),
        }
    }
}

fn closed(place: Place, accepted: Accepted) -> Option<bytes::Bytes> {
    let Accepted {
        offset,
        log_ts,
        outcome,
        body,
        ..
    } = accepted;
    let body = Body::decode(outcome, body);
    let open = body.as_ref().and_then(Body::row)?;
    Some(row::close(open, log_ts, offset, place.partition).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::letter::tests::accepted;
    use rtf_proto::row::RowParts;
    use rtf_proto::{JoinKey, Original, TopicId};

    const ROWS: Content = Content::Rows {
        emit_unjoinable: false,
    };

    #[test]
    fn an_event_is_known_by_what_was_made_of_it() {
        let id = EventId::from("id \"7\"");
        let row = row::open(&RowParts {
            id: &id,
            key: &JoinKey::from("k"),
            outcome: Outcome::Joined,
            foreign: b"{}",
            primary: &[b"{}"],
            foreign_ts: 1,
            primary_ts: Some(2),
            attempts: 1,
        });
        let joined = accepted(Outcome::Joined, Body::Joined { row });
        assert_eq!(ROWS.event_id(&joined), Some(id));

        let malformed = Body::Malformed {
            words: "not JSON".into(),
            original: Original::default(),
        };
        let malformed = accepted(Outcome::Malformed, malformed);
        let letters = Content::DeadLetters(LetterOptions {
            source_topic: "tweets".into(),
            emit_unjoinable: false,
        });
        let place = Source {
            topic: "tweets".into(),
            topic_id: TopicId([9; 16]),
            partition: 3,
            offset: 41,
        };
        assert_eq!(letters.event_id(&malformed), Some(place.event_id()));
        assert_eq!(ROWS.event_id(&malformed), None);
    }
}
