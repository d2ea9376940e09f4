//! What must come out, known beforehand: each click once, with the very bytes of its query. Knows no server and no clock.

use anyhow::{Context, Result, ensure};
use rtf_synth::{Event, Side};
use serde::Serialize;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher};

/// What is expected of a click.
struct Pair {
    index: usize,
    click: u64,
    key: u64,
}

/// The clicks that are sent, in their order, each with its query.
pub struct Oracle {
    /// By the click's id.
    pairs: HashMap<u64, Pair>,
    /// By their key.
    queries: HashMap<u64, u64>,
    joins: bool,
}

impl Oracle {
    /// Of events that all find their partner, before or after they come. `joins`: whether what a row says is checked, or only whose it is.
    pub fn of(events: impl Iterator<Item = Event>, joins: bool) -> Result<Self> {
        let (mut queries, mut pairs) = (HashMap::new(), HashMap::new());
        for event in events {
            let key = hash(event.key.as_deref().context("a key")?);
            let value = hash(&event.value);
            match event.side {
                Side::Primary => drop(queries.insert(key, value)),
                Side::Foreign => {
                    let pair = Pair {
                        index: pairs.len(),
                        click: value,
                        key,
                    };
                    let id = click_id(&event.value).context("a click's id")?;
                    pairs.insert(hash(id), pair);
                }
            }
        }
        let mut keys = pairs.values().map(|pair| &pair.key);
        ensure!(
            keys.all(|key| queries.contains_key(key)),
            "a click without its query"
        );
        Ok(Self {
            pairs,
            queries,
            joins,
        })
    }

    /// How many there are.
    pub fn clicks(&self) -> usize {
        self.pairs.len()
    }

    /// The number of the click that a row is of; none if the row is of none of them, or not joined as it must be.
    fn index(&self, row: &[u8]) -> Option<usize> {
        let pair = self.pairs.get(&hash(click_id(row)?))?;
        let is_right = !self.joins
            || (hash(object_behind(row, b"\"foreign\":")?) == pair.click
                && Some(&hash(object_behind(row, b"\"primary\":[")?))
                    == self.queries.get(&pair.key));
        is_right.then_some(pair.index)
    }
}

/// How often each click has come out so far.
pub struct Tally<'a> {
    oracle: &'a Oracle,
    times: Vec<u32>,
    /// Clicks that have come out; asked after each read, while others are measured.
    out: usize,
    rows: u64,
    bytes: u64,
    wrong: u64,
}

/// What was not as promised, in rows.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq, Serialize)]
pub struct Faults {
    pub missing: u64,
    pub duplicated: u64,
    pub wrong: u64,
}

/// Of several runs together.
pub fn sum(runs: impl IntoIterator<Item = Faults>) -> Faults {
    runs.into_iter().fold(Faults::default(), |sum, run| Faults {
        missing: sum.missing + run.missing,
        duplicated: sum.duplicated + run.duplicated,
        wrong: sum.wrong + run.wrong,
    })
}

impl<'a> Tally<'a> {
    pub fn new(oracle: &'a Oracle) -> Self {
        Self {
            oracle,
            times: vec![0; oracle.clicks()],
            out: 0,
            rows: 0,
            bytes: 0,
            wrong: 0,
        }
    }

    /// Counts a row, and says of which click it is if it is the first one.
    pub fn count(&mut self, row: &[u8]) -> Option<usize> {
        self.rows += 1;
        self.bytes += row.len() as u64;
        let Some(index) = self.oracle.index(row) else {
            self.wrong += 1;
            return None;
        };
        self.times[index] += 1;
        let is_first = self.times[index] == 1;
        self.out += usize::from(is_first);
        is_first.then_some(index)
    }

    pub fn faults(&self) -> Faults {
        let times = || self.times.iter().map(|times| u64::from(*times));
        Faults {
            missing: times().filter(|times| *times == 0).count() as u64,
            duplicated: times().map(|times| times.saturating_sub(1)).sum(),
            wrong: self.wrong,
        }
    }

    pub fn clicks(&self) -> u64 {
        self.times.len() as u64
    }

    pub fn is_complete(&self) -> bool {
        self.out == self.times.len()
    }

    /// Of an average row.
    pub fn row_bytes(&self) -> u64 {
        self.bytes / self.rows.max(1)
    }
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

/// The id in a click, or in a row that has one in it: found by its name, as parsing would cost more than what is measured.
fn click_id(json: &[u8]) -> Option<&[u8]> {
    let rest = behind(json, b"\"click_id\":\"")?;
    rest.split(|byte| *byte == b'"').next()
}

/// The object, which has none in it, that follows this name.
fn object_behind<'a>(json: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let rest = behind(json, name)?;
    let end = rest.iter().position(|byte| *byte == b'}')?;
    Some(&rest[..=end])
}

fn behind<'a>(json: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let at = json.windows(name.len()).position(|bytes| bytes == name)?;
    Some(&json[at + name.len()..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::all_match;

    fn rows(count: u64) -> Vec<String> {
        let (mut queries, mut rows) = (HashMap::new(), Vec::new());
        for event in all_match(count).events() {
            let value = String::from_utf8(event.value).unwrap();
            match event.side {
                Side::Primary => drop(queries.insert(event.key, value)),
                Side::Foreign => {
                    let query = &queries[&event.key];
                    rows.push(format!("{{\"foreign\":{value},\"primary\":[{query}]}}"));
                }
            }
        }
        rows
    }

    fn faults(rows: impl IntoIterator<Item = String>) -> Faults {
        let oracle = Oracle::of(all_match(5).events(), true).unwrap();
        let mut tally = Tally::new(&oracle);
        for row in rows {
            tally.count(row.as_bytes());
        }
        tally.faults()
    }

    #[test]
    fn all_rows_once_are_without_fault() {
        assert_eq!(faults(rows(5)), Faults::default());
    }

    #[test]
    fn missing_duplicated_and_unknown_rows_are_found() {
        let mut given = rows(6);
        given.swap_remove(0);
        given.push(given[1].clone());
        let expected = Faults {
            missing: 1,
            duplicated: 1,
            wrong: 1,
        };
        assert_eq!(faults(given), expected);
    }

    #[test]
    fn a_row_with_the_query_of_another_click_is_wrong() {
        let mut given = rows(5);
        let (foreign, _) = given[0].split_once("\"primary\"").unwrap();
        let (_, primary) = given[1].split_once("\"primary\"").unwrap();
        given[0] = format!("{foreign}\"primary\"{primary}");
        let Faults { missing, wrong, .. } = faults(given);
        assert_eq!((missing, wrong), (1, 1));
    }
}
