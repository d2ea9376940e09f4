//! Letters: what the dead-letter topic holds for a reader of committed records, held against the log and what was sent.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use rtf_kafka::{Cluster, Isolation, Polled, Settings, Start, Tail};
use rtf_proto::{Header, Original, naming};
use rtf_synth::Join;

use super::POISON_KEY;
use super::log::Winners;
use super::problems::Problems;
use super::sent::Sent;
use crate::fate::shown;
use crate::pause;

const POLL: Duration = Duration::from_millis(50);
/// A reader that does not come to the end of the topic is stuck.
const READ_WITHIN: Duration = Duration::from_secs(60);
/// Letters are carried after the log has decided: the last of them are waited for.
const CARRIED_WITHIN: Duration = Duration::from_secs(45);

/// One record of the topic.
struct Letter {
    partition: u32,
    at: u64,
    original: Original,
}

impl Letter {
    /// What one of our headers says; none is there twice.
    fn says(&self, name: &str) -> Option<&str> {
        let mut named = self.original.headers.iter().filter(|(n, _)| n == name);
        let (_, value) = named.next()?;
        match named.next() {
            Some(_) => None,
            None => std::str::from_utf8(value.as_deref()?).ok(),
        }
    }

    /// The headers of the original.
    fn users(&self) -> Vec<&Header> {
        users(&self.original)
    }
}

/// Every event that was given up or could not be read has one letter, where the log has its partition, in the log's order; and nothing else is
/// there.
pub(super) fn check(
    settings: &Settings,
    join: &Join,
    sent: &Sent,
    winners: &Winners,
    problems: &mut Problems,
) -> Result<()> {
    let wanted = winners.given_up.len();
    let deadline = Instant::now() + CARRIED_WITHIN;
    let mut letters = read(settings, join, wanted == 0)?;
    while letters.len() < wanted && Instant::now() < deadline {
        pause(Duration::from_millis(500));
        letters = read(settings, join, false)?;
    }
    let mut seen = BTreeSet::new();
    let mut last = None;
    for letter in &letters {
        if let Some(place) = check_one(letter, join, sent, winners, problems) {
            let words = || format!("{}/{} of offset {}", letter.partition, letter.at, place.1);
            problems.unless(seen.insert(place), "twice among the dead letters", words);
            problems.unless(
                last < Some(place),
                "out of order among the dead letters",
                words,
            );
            last = Some(place);
        }
    }
    for (place, source) in winners.given_up.iter().filter(|(p, _)| !seen.contains(p)) {
        problems.add("missing among the dead letters", || {
            format!("log {}/{} of {source:?}", place.0, place.1)
        });
    }
    Ok(())
}

/// Which record of the log it is of, if of any.
fn check_one(
    letter: &Letter,
    join: &Join,
    sent: &Sent,
    winners: &Winners,
    problems: &mut Problems,
) -> Option<(u32, u64)> {
    let at = || format!("{}/{}", letter.partition, letter.at);
    let offset = letter.says("rtf.offset").and_then(|text| text.parse().ok());
    let place = offset.map(|offset| (letter.partition, offset));
    let Some((place, source)) = place.and_then(|p| Some((p, winners.given_up.get(&p)?))) else {
        problems.add("a dead letter of nothing the log gave up", at);
        return None;
    };
    let (partition, offset) = source.place;
    let said = format!("{}/{partition}/{offset}", join.foreign.topic);
    let number = |name| {
        letter
            .says(name)
            .is_some_and(|text| text.parse::<u64>().is_ok())
    };
    let right = letter.says("rtf.log") == Some(&winners.log.to_string())
        && letter.says("rtf.source") == Some(&said)
        && letter.says("rtf.outcome") == Some(source.outcome)
        && letter
            .says("rtf.reason")
            .is_some_and(|words| !words.is_empty())
        && number("rtf.attempts")
        && number("rtf.first_seen");
    problems.unless(right, "a dead letter with wrong headers", || {
        format!("{}: {:?}", at(), letter.original.headers)
    });
    let original = sent.foreign.get(&source.place);
    let same = original.is_some_and(|original| {
        (&original.key, &original.value) == (&letter.original.key, &letter.original.value)
            && users(original) == letter.users()
    });
    problems.unless(same, "a dead letter that is not what was sent", || {
        format!(
            "{} of {said}: {}",
            at(),
            shown(letter.original.value.as_deref().unwrap_or_default())
        )
    });
    Some(place)
}

fn users(original: &Original) -> Vec<&Header> {
    let headers = original.headers.iter();
    headers
        .filter(|(name, _)| !name.starts_with("rtf."))
        .collect()
}

/// All committed records, partition by partition. `or_none`: there may be no such topic.
fn read(settings: &Settings, join: &Join, or_none: bool) -> Result<Vec<Letter>> {
    let topic = naming::dead_letter_topic(join.name);
    let cluster = Cluster::connect(settings)?;
    let Some(info) = cluster.topic(&topic)? else {
        return if or_none {
            Ok(Vec::new())
        } else {
            bail!("there is no topic {topic}")
        };
    };
    let mut starts = Vec::new();
    for partition in 0..info.partitions {
        let (first, end) = cluster.offsets(&topic, partition)?;
        if first < end {
            starts.push((partition, Start::Offset(first)));
        }
    }
    let mut letters = read_all(settings, &topic, &starts)?;
    letters.sort_by_key(|letter| (letter.partition, letter.at));
    Ok(letters)
}

/// All partitions at once: one after the other, each would cost the time of a new reader.
fn read_all(settings: &Settings, topic: &str, starts: &[(u32, Start)]) -> Result<Vec<Letter>> {
    let mut letters = Vec::new();
    let mut reading: BTreeSet<u32> = starts.iter().map(|(partition, _)| *partition).collect();
    let tail = Tail::open(settings, topic, starts, Isolation::ReadCommitted)?;
    let deadline = Instant::now() + READ_WITHIN;
    while !reading.is_empty() && Instant::now() < deadline {
        match tail.poll(POLL) {
            Polled::Record(record) if record.key() == Some(POISON_KEY) => {}
            Polled::Record(record) => letters.push(Letter {
                partition: record.partition(),
                at: record.offset(),
                original: record.original(),
            }),
            Polled::EndOfPartition(partition) => drop(reading.remove(&partition)),
            Polled::Idle => {}
            Polled::Failed(error) => return Err(error.into()),
        }
    }
    ensure!(
        reading.is_empty(),
        "the ends of {topic} are not reached in partitions {reading:?}"
    );
    Ok(letters)
}
