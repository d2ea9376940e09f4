//! What a sink gets of the log: which accepted records, and as what. Pure.

use crate::letter::{self, LetterOptions};
use crate::sink::{Place, Row};
use rtf_proto::record::Body;
use rtf_proto::{Accepted, Outcome, row};

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

    /// What one of them is called.
    fn item(&self) -> &'static str {
        match self {
            Self::Rows { .. } => "row",
            Self::DeadLetters(_) => "original",
        }
    }

    fn wants(&self, outcome: Outcome) -> bool {
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
