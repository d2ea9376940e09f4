//! `rtf dlq replay`: sends letters to the foreign topic again (docs/adr/0010).
//!
//! What the log decided stays decided, so an event that was given up comes back under a new id, which follows from the old one and from
//! nothing else: whoever sends a letter again, and however often, it is joined once.

use super::each;
use super::letter::Letter;
use super::wanted::Wanted;
use crate::progress::Progress;
use crate::{human, out};
use rtf_config::Config;
use rtf_kafka::{Sender, Settings};
use rtf_proto::{EventId, MAX_ID_BYTES, Original, PartitionId, header};
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::process::ExitCode;
use std::time::Duration;

/// Between an id and how often it came back.
const AGAIN: &str = "~again-";
/// All that was sent is acknowledged within this.
const FLUSH_WITHIN: Duration = Duration::from_secs(60);

/// A letter that is not sent, and why.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Unfit {
    Lost,
    LongId,
}

impl Unfit {
    fn words(self) -> &'static str {
        match self {
            Self::Lost => {
                "its original did not fit into the join log: send it from its source, smaller"
            }
            Self::LongId => "its new id would be too long",
        }
    }
}

/// Sends what is wanted, or says what would be sent. Exit code 1 when something could not be.
///
/// # Errors
/// Kafka does not answer or does not take a record.
pub fn run(
    config: &Config,
    settings: &Settings,
    wanted: Wanted,
    execute: bool,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let topic = &config.join.foreign.topic;
    let has_ids = !config.join.foreign.id.is_empty();
    let sender = execute.then(|| Sender::open(settings)).transpose()?;
    let progress = Progress::new("sent", None);
    let mut reasons: BTreeMap<String, u64> = BTreeMap::new();
    let mut unfit: BTreeMap<Unfit, u64> = BTreeMap::new();
    let letters = each(config, settings, &wanted, |letter| {
        match again(&letter, has_ids) {
            Err(why) => *unfit.entry(why).or_default() += 1,
            Ok(original) => {
                if let Some(sender) = &sender {
                    sender.send_original(topic, source_partition(&letter), &original, None)?;
                    progress.add(1);
                }
                *reasons.entry(kind(&letter)).or_default() += 1;
            }
        }
        Ok(())
    })?;
    if let Some(sender) = &sender {
        sender.flush(FLUSH_WITHIN)?;
    }
    progress.finish();
    let count: u64 = reasons.values().sum();
    let skipped: u64 = unfit.values().sum();
    if json {
        let report = json!({
            "from": letters, "to": topic, "executed": execute, "letters": count, "by_reason": reasons, "skipped": skipped,
        });
        out::line(report)?;
    } else {
        let done = if execute { "sent" } else { "would be sent" };
        let mut text = format!(
            "{} letters of {letters} {done} to {topic}\n",
            human::count(count)
        );
        for (reason, count) in &reasons {
            writeln!(text, "  {:>12}  {reason}", human::count(*count))?;
        }
        for (why, count) in &unfit {
            writeln!(text, "{} not: {}", human::count(*count), why.words())?;
        }
        if !execute && count > 0 {
            text += "This was a dry run; --execute sends them.\n";
        }
        out::write(text.as_bytes())?;
    }
    Ok(if skipped == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What stands in the summary: the words of a parser are too many to be counted apart.
fn kind(letter: &Letter) -> String {
    let (outcome, reason) = (letter.says(header::OUTCOME), letter.says(header::REASON));
    match (outcome, reason) {
        (Some("unjoinable"), Some(reason)) => format!("unjoinable ({reason})"),
        (outcome, _) => outcome.unwrap_or_default().to_owned(),
    }
}

/// The record to be sent: the original, under a new id where its own is decided.
fn again(letter: &Letter, has_ids: bool) -> Result<Original, Unfit> {
    if letter.has_lost_original() {
        return Err(Unfit::Lost);
    }
    let id = match (letter.says(header::ID), letter.says(header::SOURCE)) {
        (Some(id), _) => Some(next_id(id)),
        // Registered by its position, which is another one now: without an id of its own it would be another event each time.
        (None, Some(source)) if !has_ids => Some(next_id(source)),
        (None, _) => None,
    };
    let mut original = letter.original.clone();
    original.headers.retain(|(name, _)| !header::is_ours(name));
    if let Some(id) = id {
        if id.as_bytes().len() > MAX_ID_BYTES {
            return Err(Unfit::LongId);
        }
        original
            .headers
            .push((header::ID.into(), Some(id.to_string().into())));
    }
    Ok(original)
}

fn next_id(id: &str) -> EventId {
    let counted = id.rsplit_once(AGAIN).and_then(|(first, times)| {
        let times: u64 = times.parse().ok()?;
        Some((first, times.checked_add(1)?))
    });
    let (first, times) = counted.unwrap_or((id, 1));
    EventId::from(format!("{first}{AGAIN}{times}"))
}

/// Where it stood, so that a partition's events stay in one partition.
fn source_partition(letter: &Letter) -> Option<PartitionId> {
    let (rest, _) = letter.says(header::SOURCE)?.rsplit_once('/')?;
    rest.rsplit_once('/')?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(headers: &[(&str, &str)], value: Option<&'static [u8]>) -> Letter {
        let headers = headers.iter();
        Letter {
            partition: 0,
            offset: 0,
            written_ms: 0,
            original: Original {
                value: value.map(bytes::Bytes::from_static),
                headers: headers
                    .map(|(name, text)| ((*name).into(), Some((*text).to_owned().into())))
                    .collect(),
                ..Original::default()
            },
        }
    }

    fn id(original: &Original) -> Option<&str> {
        header::text(&original.headers, header::ID)
    }

    #[test]
    fn an_event_comes_back_under_an_id_that_follows_from_its_own() {
        let first = letter(
            &[("trace", "1"), ("rtf.id", "e1"), ("rtf.source", "a/b/2/7")],
            Some(b"{}"),
        );
        let sent = again(&first, true).unwrap();
        assert_eq!(id(&sent), Some("e1~again-1"));
        assert_eq!(
            sent.headers.len(),
            2,
            "of ours only the id: {:?}",
            sent.headers
        );
        assert_eq!(again(&first, true).unwrap(), sent);
        assert_eq!(source_partition(&first), Some(2));
        assert_eq!(next_id("e1~again-9").to_string(), "e1~again-10");
        assert_eq!(next_id("e~again-x").to_string(), "e~again-x~again-1");
    }

    #[test]
    fn a_malformed_one_keeps_the_id_that_stands_in_it() {
        let malformed = letter(&[("rtf.source", "t/2/7")], Some(b"{}"));
        assert_eq!(id(&again(&malformed, true).unwrap()), None);
        assert_eq!(
            id(&again(&malformed, false).unwrap()),
            Some("t/2/7~again-1")
        );
    }

    #[test]
    fn what_cannot_be_sent_is_told() {
        let lost = letter(&[("rtf.source", "t/2/7")], None);
        assert_eq!(again(&lost, true), Err(Unfit::Lost));
        let long = "i".repeat(MAX_ID_BYTES);
        let long = letter(&[("rtf.id", &long)], Some(b"{}"));
        assert_eq!(again(&long, true), Err(Unfit::LongId));
    }
}
