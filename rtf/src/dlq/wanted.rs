//! Which letters are wanted. Pure, but for the clock that "an hour ago" is counted from.

use super::args::{Ended, Which};
use super::letter::Letter;
use crate::exit;
use chrono::{DateTime, Utc};
use rtf_config::Span;
use rtf_proto::{Outcome, header};

/// Conditions; all of them must hold.
#[derive(Default, Debug)]
pub struct Wanted {
    outcome: Option<Ended>,
    reason: Option<String>,
    /// ms since 1970.
    since: Option<i64>,
    until: Option<i64>,
    key: Option<String>,
    ids: Vec<String>,
    /// Place, id or source of a single one.
    one: Option<String>,
}

impl TryFrom<Which> for Wanted {
    type Error = anyhow::Error;

    fn try_from(which: Which) -> anyhow::Result<Self> {
        let now = Utc::now();
        let time =
            |flag: &str, text: Option<String>| text.map(|text| time(flag, &text, now)).transpose();
        Ok(Self {
            outcome: which.outcome,
            reason: which.reason,
            since: time("--since", which.since)?,
            until: time("--until", which.until)?,
            key: which.key,
            ids: which.id,
            one: None,
        })
    }
}

impl Wanted {
    /// One of them: by its place in the topic, its id or its source.
    pub fn one(which: &str) -> Self {
        Self {
            one: Some(which.into()),
            ..Self::default()
        }
    }

    /// Whether nothing is said, so that all are wanted.
    pub fn is_everything(&self) -> bool {
        let Self {
            outcome,
            reason,
            since,
            until,
            key,
            ids,
            one,
        } = self;
        outcome.is_none()
            && since.or(*until).is_none()
            && reason.as_ref().or(key.as_ref()).is_none()
            && ids.is_empty()
            && one.is_none()
    }

    /// Whether this letter is wanted.
    pub fn is(&self, letter: &Letter) -> bool {
        let says = |name| letter.says(name).unwrap_or_default();
        let is = |wanted: &Option<String>, name| {
            let wanted = wanted.as_deref();
            wanted.is_none_or(|wanted| letter.says(name) == Some(wanted))
        };
        let outcome = self.outcome.is_none_or(|ended| {
            let malformed = says(header::OUTCOME) == Outcome::Malformed.as_str();
            malformed == (ended == Ended::Malformed)
        });
        let id = says(header::ID);
        outcome
            && self
                .reason
                .as_ref()
                .is_none_or(|text| says(header::REASON).contains(text))
            && self.since.is_none_or(|since| letter.written_ms >= since)
            && self.until.is_none_or(|until| letter.written_ms < until)
            && is(&self.key, header::KEY)
            && (self.ids.is_empty() || self.ids.iter().any(|wanted| wanted == id))
            && self.one.as_ref().is_none_or(|one| {
                *one == format!("{}/{}", letter.partition, letter.offset)
                    || one == id
                    || one == says(header::SOURCE)
            })
    }
}

/// A time, or how long it is ago; ms since 1970.
fn time(flag: &str, text: &str, now: DateTime<Utc>) -> anyhow::Result<i64> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Ok(time.timestamp_millis());
    }
    let ago = text.parse::<Span>().ok();
    let ago =
        ago.and_then(|Span(ago)| now.checked_sub_signed(chrono::Duration::from_std(ago).ok()?));
    let wrong = || {
        exit::usage(format!(
            "{flag} {text}: expected a duration before now, such as 2h, or a time, such as 2026-01-31T08:00:00Z"
        ))
    };
    ago.map(|time| time.timestamp_millis()).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rtf_proto::Original;

    fn letter(outcome: &str, reason: &str, id: Option<&str>) -> Letter {
        let mut headers = vec![
            (header::OUTCOME, outcome),
            (header::REASON, reason),
            (header::SOURCE, "tweets/1/7"),
            (header::KEY, "Austin"),
        ];
        headers.extend(id.map(|id| (header::ID, id)));
        let headers = headers.into_iter();
        Letter {
            partition: 2,
            offset: 9,
            written_ms: 1000,
            original: Original {
                headers: headers
                    .map(|(name, text)| (name.into(), Some(text.to_owned().into())))
                    .collect(),
                ..Original::default()
            },
        }
    }

    #[test]
    fn every_condition_counts() {
        let timed_out = letter("unjoinable", "timed_out", Some("e1"));
        let malformed = letter("malformed", "not JSON: expected `:`", None);
        let which = |which: Which| Wanted::try_from(which).unwrap();
        let check = |wanted: Wanted, expected: (bool, bool)| {
            assert_eq!(
                (wanted.is(&timed_out), wanted.is(&malformed)),
                expected,
                "{wanted:?}"
            );
        };
        check(Wanted::default(), (true, true));
        let outcome = Some(Ended::Malformed);
        check(
            which(Which {
                outcome,
                ..Which::default()
            }),
            (false, true),
        );
        let reason = Some("JSON".into());
        check(
            which(Which {
                reason,
                ..Which::default()
            }),
            (false, true),
        );
        let id = vec!["e0".into(), "e1".into()];
        check(
            which(Which {
                id,
                ..Which::default()
            }),
            (true, false),
        );
        let key = Some("Dallas".into());
        check(
            which(Which {
                key,
                ..Which::default()
            }),
            (false, false),
        );
        let (since, until) = (
            Some("1970-01-01T00:00:01Z".to_owned()),
            Some("1970-01-01T00:00:01Z".to_owned()),
        );
        check(
            which(Which {
                since,
                ..Which::default()
            }),
            (true, true),
        );
        check(
            which(Which {
                until,
                ..Which::default()
            }),
            (false, false),
        );
        check(Wanted::one("2/9"), (true, true));
        check(Wanted::one("e1"), (true, false));
        check(Wanted::one("tweets/1/7"), (true, true));
        check(Wanted::one("1/7"), (false, false));
        assert!(Wanted::default().is_everything() && !Wanted::one("x").is_everything());
    }

    #[test]
    fn times_are_times_or_durations_ago() {
        let now = DateTime::from_timestamp_millis(10_000_000).unwrap();
        assert_eq!(time("--since", "1h", now).unwrap(), 6_400_000);
        assert_eq!(
            time("--since", "1970-01-01T01:00:00+01:00", now).unwrap(),
            0
        );
        let wrong = time("--since", "yesterday", now).unwrap_err().to_string();
        assert!(wrong.starts_with("--since yesterday: expected"), "{wrong}");
    }
}
