//! Malformed: records that have no usable id or key, each sort in turn, no two alike.
//!
//! Several are such that a careless reader would take them for good: cut only at the last byte, followed by
//! text, broken far behind the key. What would be their ids and keys belongs to no good event.

use crate::clicks::pair::Clock;
use crate::event::{Event, Expect, Side};
use crate::ids::Ids;
use crate::share::Share;

#[derive(Clone, Copy)]
enum Kind {
    NotJson,
    CutShort,
    TextBehind,
    NotAnObject,
    MissingKey,
    NullKey,
    EmptyKey,
    BooleanKey,
    ListKey,
    ObjectKey,
    /// Half of a pair of `\u` escapes, which is no text.
    HalfSurrogateKey,
    MissingId,
    NullId,
    /// The first two bytes of a character of three.
    CutCharacter,
    /// A line break within a string, which JSON forbids.
    RawControl,
}

const KINDS: [Kind; 15] = [
    Kind::NotJson,
    Kind::CutShort,
    Kind::TextBehind,
    Kind::NotAnObject,
    Kind::MissingKey,
    Kind::NullKey,
    Kind::EmptyKey,
    Kind::BooleanKey,
    Kind::ListKey,
    Kind::ObjectKey,
    Kind::HalfSurrogateKey,
    Kind::MissingId,
    Kind::NullId,
    Kind::CutCharacter,
    Kind::RawControl,
];

/// What the fields are called; the same where the id is the key.
#[derive(Clone, Copy)]
pub(crate) struct Names {
    pub(crate) id: &'static str,
    pub(crate) key: &'static str,
}

/// Makes the malformed records of one side.
pub(crate) struct Malformer {
    pub(crate) side: Side,
    pub(crate) names: Names,
    pub(crate) share: Share,
    pub(crate) ids: Ids,
    pub(crate) clock: Clock,
}

impl Malformer {
    /// The malformed record that is sent beside pair `index`, if one is.
    pub(crate) fn beside(&self, index: u64) -> Option<Event> {
        let nth = self.share.nth_at(index)?;
        let at_ms = self.clock.beside_ms(index, self.side);
        let kind = KINDS[(nth % KINDS.len() as u64) as usize];
        let value = self.value(
            kind,
            &format!("{:016x}", self.ids.at(nth)),
            self.clock.time(at_ms),
        );
        Some(Event {
            side: self.side,
            key: None,
            value,
            at_ms,
            expect: Expect::Malformed,
        })
    }

    fn value(&self, kind: Kind, unique: &str, time: i64) -> Vec<u8> {
        let good = format!("\"bad-{unique}\"");
        let with_key = |key: &str| self.object(Some(&good), Some(key), unique, time);
        let text = match kind {
            Kind::NotJson => format!("GET /offer/{unique}?at={time} HTTP/1.1"),
            Kind::CutShort => with_key(&good).trim_end_matches('}').to_owned(),
            Kind::TextBehind => with_key(&good) + ", and so on",
            Kind::NotAnObject => format!("[\"bad-{unique}\",{time}]"),
            Kind::MissingKey => self.object(Some(&good), None, unique, time),
            Kind::NullKey => with_key("null"),
            Kind::EmptyKey => with_key("\"\""),
            Kind::BooleanKey => with_key("true"),
            Kind::ListKey => with_key(&format!("[{good}]")),
            Kind::ObjectKey => with_key(&format!("{{\"id\":{good}}}")),
            Kind::HalfSurrogateKey => with_key(&format!("\"bad-{unique}\\ud83d\"")),
            Kind::MissingId => self.object(None, Some(&good), unique, time),
            Kind::NullId => self.object(Some("null"), Some(&good), unique, time),
            Kind::RawControl => self.object(Some(&good), Some(&good), &format!("{unique}\n"), time),
            Kind::CutCharacter => return self.cut_character(&good, unique, time),
        };
        text.into_bytes()
    }

    /// An object with these JSON values as id and key. Where the id is the key, the one of the two that is wrong is written.
    fn object(&self, id: Option<&str>, key: Option<&str>, note: &str, time: i64) -> String {
        let field = |name: &str, value: Option<&str>| {
            value.map_or_else(String::new, |value| format!("\"{name}\":{value},"))
        };
        let Names {
            id: id_name,
            key: key_name,
        } = self.names;
        let head = match id {
            _ if id_name != key_name => field(id_name, id) + &field(key_name, key),
            None | Some("null") => field(id_name, id),
            Some(_) => field(key_name, key),
        };
        format!("{{{head}\"time\":{time},\"note\":\"{note}\"}}")
    }

    fn cut_character(&self, good: &str, unique: &str, time: i64) -> Vec<u8> {
        let mut value = self
            .object(Some(good), Some(good), unique, time)
            .into_bytes();
        value.truncate(value.len() - "\"}".len());
        value.extend_from_slice(b"\xe2\x82\"}");
        value
    }
}
