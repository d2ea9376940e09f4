//! Which fields are proposed as ids, keys and times, and why. Pure.

use super::fields::{Field, Survey};
use crate::human;
use crate::sample::overlap::{Overlap, percent};
use std::fmt;

/// Times are in so to speak all records; ids have each value once.
const ALWAYS: f64 = 0.99;
/// Ids too, but the records that lack theirs are malformed, and a small topic may have many of these.
const NEARLY_ALWAYS: f64 = 0.95;
/// A key may be missing more often: a tweet without a place ends as malformed.
const OFTEN: f64 = 0.5;
/// Fewer records say nothing of uniqueness.
const ENOUGH: usize = 20;
/// Clocks differ: what is later than Kafka's timestamp by no more is not in the future.
const CLOCKS_MS: i64 = 5 * 60_000;
/// The most pairs of key fields that are named beside the one proposed.
const RIVALS: usize = 4;
/// A pair that is right less often than the best is no rival of it.
const NEAR: f64 = 0.5;

/// A field, and why it is this one.
#[derive(Clone, PartialEq, Debug)]
pub struct Chosen {
    /// JSON pointer, `@key` or `@header.NAME`.
    pub field: String,
    /// In figures.
    pub why: String,
}

/// A field of each side whose values meet.
#[derive(Clone, PartialEq, Debug)]
pub struct Pair {
    /// Of the foreign side.
    pub foreign: String,
    /// Of the primary side.
    pub primary: String,
    /// How often.
    pub overlap: Overlap,
    /// Whether white space and case must be ignored for it.
    pub folds: bool,
    /// Primaries to a key, on average.
    pub primaries: f64,
    score: f64,
}

/// All that is proposed.
#[derive(Debug)]
pub struct Proposal {
    /// None: position is the id.
    pub foreign_id: Option<Chosen>,
    /// None: position is the id.
    pub primary_id: Option<Chosen>,
    /// The best first; empty when no values meet.
    pub keys: Vec<Pair>,
    /// None: Kafka's timestamp.
    pub foreign_time: Option<Chosen>,
    /// None: Kafka's timestamp.
    pub primary_time: Option<Chosen>,
    /// None: never.
    pub expires: Option<Chosen>,
}

/// Both sides of a join, as sampled.
pub struct Sides<'a> {
    /// Topic and fields.
    pub foreign: (&'a str, &'a Survey),
    /// Topic and fields.
    pub primary: (&'a str, &'a Survey),
    /// The part of the primary topic that was read.
    pub coverage: f64,
}

impl Sides<'_> {
    /// These two fields as a key; `None` where no values meet.
    pub fn pair(&self, foreign: &str, primary: &str) -> Option<Pair> {
        let (ours, theirs) = (self.foreign.1, self.primary.1);
        let foreign = ours.fields.get_key_value(foreign)?;
        let primary = theirs.fields.get_key_value(primary)?;
        pair(foreign, primary, ours.read, self.coverage)
    }
}

impl Pair {
    /// Whether a part of it is no field of the value.
    fn is_beside(&self) -> bool {
        self.foreign.starts_with('@') || self.primary.starts_with('@')
    }
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}: {}", self.foreign, self.primary, self.overlap)?;
        if self.folds {
            f.write_str(", without regard to case and white space")?;
        }
        Ok(())
    }
}

impl Proposal {
    /// Proposes.
    pub fn of(sides: &Sides<'_>) -> Self {
        let (foreign, primary) = (sides.foreign.1, sides.primary.1);
        Self {
            foreign_id: id(sides.foreign.0, foreign),
            primary_id: id(sides.primary.0, primary).or_else(|| updated(sides.primary)),
            keys: keys(sides),
            foreign_time: own_time(foreign),
            primary_time: own_time(primary),
            expires: expires(primary),
        }
    }
}

/// The last step of a pointer, in small letters.
fn last_step(name: &str) -> String {
    let step = name.rsplit(['/', '.', '@']).next().unwrap_or(name);
    step.to_lowercase()
}

fn depth(name: &str) -> usize {
    name.matches('/').count().max(1)
}

/// What one thing of a topic is called: `click` of `prod.ad-clicks`.
fn singular(topic: &str) -> String {
    let word = topic.rsplit(['.', '-', '_']).next().unwrap_or(topic);
    let word = word.to_lowercase();
    if let Some(stem) = word.strip_suffix("ies") {
        return format!("{stem}y");
    }
    word.strip_suffix('s').unwrap_or(&word).to_owned()
}

/// Whether a name says that it is an id.
fn says_id(name: &str) -> bool {
    let step = name.rsplit('/').next().unwrap_or(name);
    let lower = last_step(name);
    ["id", "uuid", "guid", "id_str"].contains(&lower.as_str())
        || ["_id", "-id", "uuid", "guid"]
            .iter()
            .any(|end| lower.ends_with(end))
        || step.ends_with("Id")
        || step.ends_with("ID")
}

/// A field that names each event.
fn id(topic: &str, survey: &Survey) -> Option<Chosen> {
    let of = singular(topic);
    let candidates = survey.fields.iter().filter(|(name, field)| {
        field.is_name()
            && field.presence(survey.read) >= NEARLY_ALWAYS
            && field.uniqueness() >= ALWAYS
            && (says_id(name) || survey.read >= ENOUGH)
    });
    let scored = candidates.map(|(name, field)| (id_score(name, field, &of), name, field));
    let best = scored
        .filter(|(score, ..)| *score > 0.0)
        .max_by(|a, b| a.0.total_cmp(&b.0).then_with(|| b.1.cmp(a.1)));
    best.map(|(_, name, field)| Chosen {
        field: name.clone(),
        why: format!(
            "in {} of {} records, {}",
            percent(field.presence(survey.read)),
            human::count(survey.read as u64),
            if field.exact.len() == field.present {
                "each value once".into()
            } else {
                format!(
                    "{} different values",
                    human::count(field.exact.len() as u64)
                )
            }
        ),
    })
}

fn id_score(name: &str, field: &Field, of: &str) -> f64 {
    let mut score = 1.0;
    if says_id(name) {
        score += 4.0;
    }
    if !of.is_empty() && last_step(name).contains(of) {
        score += 2.0;
    }
    // Numbers beyond 2^53 are often there a second time, as text.
    if last_step(name).ends_with("_str") {
        score += 0.5;
    }
    if name.starts_with('@') {
        score -= 1.5;
    }
    if field.spaced * 10 > field.present || field.longest > 100 {
        score -= 4.0;
    }
    score - 0.6 * (depth(name) - 1) as f64
}

/// A field that names what the topic is about though values return: later records replace earlier ones.
fn updated((topic, survey): (&str, &Survey)) -> Option<Chosen> {
    let of = singular(topic);
    let named = survey.fields.iter().find(|(name, field)| {
        let step = last_step(name);
        field.is_name()
            && depth(name) == 1
            && field.presence(survey.read) >= NEARLY_ALWAYS
            && (step == "id" || (says_id(name) && !of.is_empty() && step.contains(&of)))
    });
    named.map(|(name, field)| Chosen {
        field: name.clone(),
        why: format!(
            "{} records have {} different values: a later one replaces the earlier",
            human::count(field.present as u64),
            human::count(field.exact.len() as u64)
        ),
    })
}

/// Pairs of fields whose values meet, the best first.
fn keys(sides: &Sides<'_>) -> Vec<Pair> {
    let (foreign, primary) = (sides.foreign.1, sides.primary.1);
    let usable =
        |survey: &'_ Survey, field: &Field| field.is_name() && field.presence(survey.read) >= OFTEN;
    let mut pairs = Vec::new();
    for (f, ours) in foreign.fields.iter().filter(|(_, f)| usable(foreign, f)) {
        for (p, theirs) in primary.fields.iter().filter(|(_, f)| usable(primary, f)) {
            pairs.extend(pair((f, ours), (p, theirs), foreign.read, sides.coverage));
        }
    }
    pairs.sort_by(|a, b| b.score.total_cmp(&a.score));
    let Some(best) = pairs.first() else {
        return pairs;
    };
    // The message key is often one of the fields once more.
    let is_beside = best.is_beside();
    let least = best.score * NEAR;
    pairs.retain(|pair| pair.score >= least && pair.is_beside() == is_beside);
    pairs.truncate(1 + RIVALS);
    pairs
}

fn pair(
    (foreign, ours): (&String, &Field),
    (primary, theirs): (&String, &Field),
    read: usize,
    coverage: f64,
) -> Option<Pair> {
    let of = read as u64;
    let exact = Overlap::new(&ours.exact, &theirs.exact, of, coverage);
    let folded = Overlap::new(&ours.folded, &theirs.folded, of, coverage);
    let folds = folded.matched > exact.matched;
    let overlap = if folds { folded } else { exact };
    if overlap.matched == 0 {
        return None;
    }
    let values = if folds { &theirs.folded } else { &theirs.exact };
    // A currency meets its like everywhere and says nothing; a key tells primaries apart.
    let apart = if theirs.present < 2 {
        1.0
    } else {
        (values.len() as f64).ln() / (theirs.present as f64).ln()
    };
    let mut score = overlap.estimate() * (0.2 + 0.8 * apart);
    let are_alike = last_step(foreign) == last_step(primary);
    if are_alike {
        score *= 1.3;
    }
    if says_id(foreign) || says_id(primary) {
        score *= 1.15;
    }
    // Small numbers meet by chance.
    let is_small = |field: &Field| field.longest <= 4 && field.example.parse::<i64>().is_ok();
    if !are_alike && is_small(ours) && is_small(theirs) {
        score *= 0.3;
    }
    for name in [foreign, primary] {
        score *= 0.98_f64.powi(i32::try_from(depth(name)).unwrap_or(i32::MAX));
        if name.starts_with('@') {
            score *= 0.9;
        }
    }
    Some(Pair {
        foreign: foreign.clone(),
        primary: primary.clone(),
        overlap,
        folds,
        primaries: theirs.present as f64 / values.len().max(1) as f64,
        score,
    })
}

const HAPPENED: [&str; 8] = [
    "time",
    "timestamp",
    "created",
    "_at",
    "date",
    "ts",
    "when",
    "at",
];

/// Times that could be the event's own. One that is not there makes an event malformed, so it must always be.
fn times(survey: &Survey) -> impl Iterator<Item = (&String, &Field)> {
    let fields = survey.fields.iter();
    fields.filter(|(name, field)| {
        field.is_time() && field.presence(survey.read) >= ALWAYS && !name.starts_with('@')
    })
}

/// When an event happened: the time nearest to Kafka's that is not in the future.
fn own_time(survey: &Survey) -> Option<Chosen> {
    let candidates = times(survey).filter(|(_, f)| f.median_ahead_ms() <= CLOCKS_MS);
    let best = candidates.min_by_key(|(name, field)| {
        let step = last_step(name);
        let is_named = HAPPENED.iter().any(|hint| step.contains(hint));
        let away = field.median_ahead_ms().unsigned_abs();
        // Within a minute the name counts for more than the distance.
        (away / 60_000, depth(name), !is_named, away)
    });
    best.map(|(name, field)| {
        let ahead = field.median_ahead_ms();
        let place = match ahead.abs() {
            0..1000 => "at Kafka's timestamp".to_owned(),
            ms if ahead < 0 => format!("{} before Kafka's timestamp", human::span(ms)),
            ms => format!("{} after Kafka's timestamp", human::span(ms)),
        };
        Chosen {
            field: name.clone(),
            why: format!(
                "a time in {} of {} records, typically {place}",
                percent(field.times as f64 / survey.read.max(1) as f64),
                human::count(survey.read as u64)
            ),
        }
    })
}

/// Until when a primary is of use: a time in the future of its record, the first of several.
fn expires(survey: &Survey) -> Option<Chosen> {
    let says = |name: &str| {
        let step = last_step(name);
        ["expire", "until", "valid", "deadline", "end"]
            .iter()
            .any(|hint| step.contains(hint))
    };
    let candidates = survey.fields.iter().filter(|(name, field)| {
        name.starts_with('/')
            && field.is_time()
            && field.presence(survey.read) >= OFTEN
            && field.future(CLOCKS_MS) >= 0.8
    });
    let best = candidates.min_by_key(|(name, field)| (!says(name), field.median_ahead_ms()));
    best.map(|(name, field)| Chosen {
        field: name.clone(),
        why: format!(
            "a time in the future of its record in {} of {} records, typically by {}",
            percent(field.future(CLOCKS_MS)),
            human::count(field.present as u64),
            human::span(field.median_ahead_ms())
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Sampled;
    use rtf_proto::Original;

    const NOW: i64 = 1_700_000_000_000;

    fn survey(values: impl Iterator<Item = serde_json::Value>) -> Survey {
        let record = |value: serde_json::Value| Sampled {
            timestamp_ms: NOW,
            original: Original {
                key: None,
                value: Some(value.to_string().into()),
                headers: Vec::new(),
            },
        };
        Survey::of(&values.map(record).collect::<Vec<_>>())
    }

    fn proposal(foreign: &Survey, primary: &Survey, coverage: f64) -> Proposal {
        Proposal::of(&Sides {
            foreign: ("ad-clicks", foreign),
            primary: ("queries", primary),
            coverage,
        })
    }

    fn field(chosen: &Option<Chosen>) -> &str {
        chosen.as_ref().map_or("", |chosen| &chosen.field)
    }

    /// The id is not the key though both are in each click once, and a currency that meets everywhere is none.
    #[test]
    fn clicks_find_their_queries() {
        let clicks = survey((0..200).map(|n| {
            serde_json::json!({ "click_id": format!("c{n}"), "query_id": format!("q{n}"), "currency": "EUR", "time": NOW - n, "position": n % 7 })
        }));
        let queries = survey((10..210).map(|n| {
            serde_json::json!({ "query_id": format!("q{n}"), "currency": "EUR", "time": NOW - n, "page": n % 5, "text": format!("shoes {n}") })
        }));
        let proposed = proposal(&clicks, &queries, 1.0);
        assert_eq!(field(&proposed.foreign_id), "/click_id");
        assert_eq!(field(&proposed.primary_id), "/query_id");
        assert_eq!(field(&proposed.foreign_time), "/time");
        assert_eq!(proposed.expires, None);
        let key = &proposed.keys[0];
        assert_eq!((&*key.foreign, &*key.primary), ("/query_id", "/query_id"));
        assert_eq!(
            key.overlap.to_string(),
            "95 % of 200 foreign records have a partner"
        );
        assert!(!key.folds && key.primaries == 1.0);
        // A part of a large topic holds few partners, and a currency all of them.
        let part = proposal(&clicks, &queries, 0.02);
        assert_eq!(part.keys[0].foreign, "/query_id");
    }

    #[test]
    fn places_meet_though_they_are_written_otherwise_and_flights_expire() {
        let places = ["Austin, TX", "Boston, MA", "Chicago, IL"];
        let tweets = survey((0..60).map(|n| {
            serde_json::json!({ "id": 1_u64 << 60 | n, "id_str": (1_u64 << 60 | n).to_string(), "user": { "location": places[n as usize % 3].to_uppercase() }, "lang": "en" })
        }));
        let deals = survey((0..60).map(|n| {
            serde_json::json!({ "from": places[n as usize % 3], "departs": NOW + 86_400_000, "arrives": NOW + 96_400_000, "fare": 1.5 })
        }));
        let proposed = proposal(&tweets, &deals, 1.0);
        assert_eq!(field(&proposed.foreign_id), "/id_str");
        assert_eq!(proposed.primary_id, None);
        assert_eq!(proposed.foreign_time, None);
        assert_eq!(field(&proposed.expires), "/departs");
        let key = &proposed.keys[0];
        assert_eq!((&*key.foreign, &*key.primary), ("/user/location", "/from"));
        assert!(key.folds);
    }

    #[test]
    fn nothing_is_proposed_where_nothing_is_known() {
        let (few, none) = (
            survey([serde_json::json!({ "a": "x" })].into_iter()),
            survey(std::iter::empty()),
        );
        let proposed = proposal(&few, &none, 1.0);
        assert!(proposed.keys.is_empty() && proposed.foreign_id.is_none());
    }

    #[test]
    fn a_topic_names_its_things() {
        for (topic, thing) in [
            ("prod.ad-clicks", "click"),
            ("queries", "query"),
            ("deal", "deal"),
        ] {
            assert_eq!(singular(topic), thing);
        }
        assert!(says_id("/clickId") && says_id("/a/id") && !says_id("/paid") && !says_id("/grid"));
    }
}
