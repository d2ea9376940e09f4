//! What the fields of a topic look like: how often they are there, how many values they have, whether they are times. Pure.

use crate::human;
use crate::sample::Sampled;
use crate::sample::overlap::{Counts, hash};
use rtf_json::time;
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};

/// Fields beyond this many are not looked at.
const FIELDS_MAX: usize = 300;
/// Nor what lies deeper.
const DEPTH_MAX: usize = 6;
/// How much of an example or of an unreadable record is shown.
const SHOWN_CHARS: usize = 60;
/// Milliseconds since 1970 that are plausible: from 2001 to 2100. The same in seconds is told apart by its size.
const PLAUSIBLE_MS: std::ops::Range<i64> = 978_307_200_000..4_102_444_800_000;

/// All fields of a sample.
#[derive(Debug, Default)]
pub struct Survey {
    /// Different records whose value is a JSON object.
    pub read: usize,
    /// Records that were there a second time, byte for byte.
    pub repeated: usize,
    /// Records whose value is no JSON object.
    pub unreadable: usize,
    /// Records without a value.
    pub empty: usize,
    /// What the first unreadable one looks like.
    pub example: String,
    /// By JSON pointer, `@key` or `@header.NAME`.
    pub fields: BTreeMap<String, Field>,
}

/// One field.
#[derive(Debug, Default)]
pub struct Field {
    /// Records in which it is a text or a number that is not empty.
    pub present: usize,
    /// Of these, numbers with a fraction.
    pub fractions: usize,
    /// Of these, texts with a space in them.
    pub spaced: usize,
    /// Of these, times in a form that is read.
    pub times: usize,
    /// Of these, what would be plausible as seconds since 1970, which are not read.
    pub seconds: usize,
    /// The longest, bytes.
    pub longest: usize,
    /// Its values.
    pub exact: Counts,
    /// The same without regard to white space around them and to case.
    pub folded: Counts,
    /// One of its values.
    pub example: String,
    /// How much later than Kafka's timestamp its times are, ms.
    pub ahead_ms: Vec<i64>,
}

impl Field {
    /// The share of `read` records that have it.
    pub fn presence(&self, read: usize) -> f64 {
        self.present as f64 / read.max(1) as f64
    }

    /// Different values to records that have it: 1 when each value is there once.
    pub fn uniqueness(&self) -> f64 {
        self.exact.len() as f64 / self.present.max(1) as f64
    }

    /// Whether it is a time, so to speak always.
    pub fn is_time(&self) -> bool {
        self.present > 0 && self.times * 100 >= self.present * 98
    }

    /// Whether it might name something: neither a time nor a measure nor prose.
    pub fn is_name(&self) -> bool {
        self.present > 0
            && self.times * 2 < self.present
            && self.fractions * 10 < self.present
            && self.longest <= 200
    }

    /// Its times' place among Kafka's timestamps, half of them before it.
    pub fn median_ahead_ms(&self) -> i64 {
        let mut sorted = self.ahead_ms.clone();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied().unwrap_or_default()
    }

    /// The share of its times that are later than Kafka's timestamp by more than `ms`.
    pub fn future(&self, ms: i64) -> f64 {
        let later = self.ahead_ms.iter().filter(|ahead| **ahead > ms).count();
        later as f64 / self.ahead_ms.len().max(1) as f64
    }

    fn note(&mut self, text: &str, is_fraction: bool, timestamp_ms: i64) {
        self.present += 1;
        self.fractions += usize::from(is_fraction);
        self.spaced += usize::from(text.trim().contains(char::is_whitespace));
        self.longest = self.longest.max(text.len());
        if self.example.is_empty() {
            self.example = shown(text);
        }
        *self.exact.entry(hash(text)).or_default() += 1;
        let folded = text.trim().to_lowercase();
        *self.folded.entry(hash(&folded)).or_default() += 1;
        match time::parse(text) {
            Some(ms) if PLAUSIBLE_MS.contains(&ms) => {
                self.times += 1;
                if timestamp_ms > 0 {
                    self.ahead_ms.push(ms - timestamp_ms);
                }
            }
            Some(s) if PLAUSIBLE_MS.contains(&s.saturating_mul(1000)) => self.seconds += 1,
            _ => {}
        }
    }
}

impl Survey {
    /// Looks at a sample.
    pub fn of(records: &[Sampled]) -> Self {
        let mut survey = Self::default();
        let mut seen = HashSet::new();
        for record in records {
            survey.note(record, &mut seen);
        }
        survey
    }

    fn note(&mut self, record: &Sampled, seen: &mut HashSet<bytes::Bytes>) {
        let original = &record.original;
        let Some(value) = &original.value else {
            self.empty += 1;
            return;
        };
        // What is sent again says nothing new, and would make an id look as if it were none.
        if !seen.insert(value.clone()) {
            self.repeated += 1;
            return;
        }
        let Ok(document @ Value::Object(_)) = serde_json::from_slice(value) else {
            if self.unreadable == 0 {
                self.example = shown(&String::from_utf8_lossy(value));
            }
            self.unreadable += 1;
            return;
        };
        self.read += 1;
        self.walk(&document, &mut String::new(), 0, record.timestamp_ms);
        let mut beside = |name: String, bytes: Option<&[u8]>| {
            let text = bytes.and_then(|bytes| std::str::from_utf8(bytes).ok());
            if let Some(text) = text.filter(|text| !text.is_empty()) {
                self.field(&name, text, false, record.timestamp_ms);
            }
        };
        beside("@key".into(), original.key.as_deref());
        for (name, value) in &original.headers {
            beside(format!("@header.{name}"), value.as_deref());
        }
    }

    fn walk(&mut self, value: &Value, pointer: &mut String, depth: usize, timestamp_ms: i64) {
        let mut step = |survey: &mut Self, name: &str, value: &Value| {
            let length = pointer.len();
            pointer.push('/');
            pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
            survey.walk(value, pointer, depth + 1, timestamp_ms);
            pointer.truncate(length);
        };
        match value {
            Value::Object(members) if depth < DEPTH_MAX => {
                for (name, value) in members {
                    step(self, name, value);
                }
            }
            // Further elements are further things of the same kind.
            Value::Array(elements) if depth < DEPTH_MAX => {
                if let Some(first) = elements.first() {
                    step(self, "0", first);
                }
            }
            Value::String(text) if !text.is_empty() => {
                self.field(pointer, text, false, timestamp_ms);
            }
            Value::Number(number) => {
                let is_fraction = number.is_f64();
                self.field(pointer, &number.to_string(), is_fraction, timestamp_ms);
            }
            _ => {}
        }
    }

    fn field(&mut self, name: &str, text: &str, is_fraction: bool, timestamp_ms: i64) {
        if !self.fields.contains_key(name) {
            if self.fields.len() >= FIELDS_MAX {
                return;
            }
            self.fields.insert(name.to_owned(), Field::default());
        }
        if let Some(field) = self.fields.get_mut(name) {
            field.note(text, is_fraction, timestamp_ms);
        }
    }
}

/// The beginning of a text, in one line.
fn shown(text: &str) -> String {
    let line = human::printable(text);
    match line.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rtf_proto::Original;

    pub fn record(value: &str) -> Sampled {
        Sampled {
            timestamp_ms: 1_700_000_000_000,
            original: Original {
                key: Some("k".into()),
                value: Some(value.to_owned().into()),
                headers: vec![("h".into(), Some("x".into()))],
            },
        }
    }

    #[test]
    fn each_kind_of_field_is_seen_for_what_it_is() {
        let records = [
            record(
                r#"{"id":1,"at":1700000000500,"s":1700000000,"w":1.5,"u":{"a/b":" X "},"l":[{"c":"é"}],"n":null,"e":""}"#,
            ),
            record(r#"{"id":2,"at":"2023-11-14T22:13:20Z","s":1700000001,"w":2,"u":{"a/b":"x"}}"#),
            record(r#"{"id":2,"at":"2023-11-14T22:13:20Z","s":1700000001,"w":2,"u":{"a/b":"x"}}"#),
            record("not JSON\n"),
            record("[1]"),
        ];
        let survey = Survey::of(&records);
        assert_eq!((survey.read, survey.repeated, survey.unreadable), (2, 1, 2));
        assert_eq!(survey.example, "not JSON·");
        let names: Vec<&str> = survey.fields.keys().map(String::as_str).collect();
        let wanted = [
            "/at",
            "/id",
            "/l/0/c",
            "/s",
            "/u/a~1b",
            "/w",
            "@header.h",
            "@key",
        ];
        assert_eq!(names, wanted);
        assert_eq!(survey.fields["/id"].uniqueness(), 1.0);
        assert_eq!(survey.fields["@key"].uniqueness(), 0.5);
        let folded = &survey.fields["/u/a~1b"];
        assert_eq!((folded.exact.len(), folded.folded.len()), (2, 1));
        assert!(survey.fields["/at"].is_time() && !survey.fields["/s"].is_time());
        assert_eq!(survey.fields["/at"].ahead_ms, [500, 0]);
        assert_eq!(survey.fields["/s"].seconds, 2);
        assert_eq!(survey.fields["/w"].fractions, 1);
        assert_eq!(survey.fields["/l/0/c"].presence(survey.read), 0.5);
    }
}
