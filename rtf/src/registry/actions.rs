//! What an operator does to a running registry.

use super::answers::Answer;
use super::replica::{ANSWER_WITHIN, Replica, within};
use crate::exit;
use crate::human;
use rtf_proto::{TopicId, pb};
use serde_json::json;
use std::time::Duration;

/// A registry gives a split up to a minute before it says that it goes on by itself.
const SPLIT_WITHIN: Duration = Duration::from_secs(90);

pub async fn pause(replica: &Replica) -> Answer {
    let request = replica.request(pb::PauseRequest {});
    let answer = within(ANSWER_WITHIN, replica.admin().pause(request)).await;
    let words = ["paused", "was paused already"];
    turned(&replica.url, true, answer.map(|a| a.was_paused), words)
}

pub async fn resume(replica: &Replica) -> Answer {
    let request = replica.request(pb::ResumeRequest {});
    let answer = within(ANSWER_WITHIN, replica.admin().resume(request)).await;
    let words = ["was not paused", "resumed"];
    turned(&replica.url, false, answer.map(|a| a.was_paused), words)
}

/// `words` for one that was not paused and for one that was.
fn turned(url: &str, paused: bool, was_paused: Result<bool, String>, words: [&str; 2]) -> Answer {
    match was_paused {
        Ok(was_paused) => Answer::done(
            url,
            words[usize::from(was_paused)],
            json!({ "paused": paused, "was_paused": was_paused }),
        ),
        Err(words) => Answer::failed(url, words),
    }
}

pub async fn drain(replica: &Replica, time: Duration) -> Answer {
    // Zero would mean the registry's own default.
    let timeout_ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1);
    let request = replica.request(pb::DrainRequest { timeout_ms });
    match within(ANSWER_WITHIN + time, replica.admin().drain(request)).await {
        Ok(pb::DrainResponse { pending: 0, .. }) => {
            let words = "drained: paused, and nothing is under way";
            Answer::done(&replica.url, words, json!({ "paused": true, "pending": 0 }))
        }
        Ok(pb::DrainResponse { pending, .. }) => Answer {
            ok: false,
            fields: json!({ "paused": true, "pending": pending }),
            ..Answer::failed(
                &replica.url,
                format!("paused, but {pending} registrations are still under way"),
            )
        },
        Err(words) => Answer::failed(&replica.url, words),
    }
}

pub async fn log_level(replica: &Replica, filter: &str) -> Answer {
    let filter = filter.to_owned();
    let request = replica.request(pb::SetLogLevelRequest {
        filter: filter.clone(),
    });
    match within(ANSWER_WITHIN, replica.admin().set_log_level(request)).await {
        Ok(pb::SetLogLevelResponse { before }) => Answer::done(
            &replica.url,
            format!("logs by `{filter}`, before by `{before}`"),
            json!({ "filter": filter, "before": before }),
        ),
        Err(words) => Answer::failed(&replica.url, words),
    }
}

pub async fn gc(replica: &Replica) -> Answer {
    let request = replica.request(pb::GcRequest {});
    match within(ANSWER_WITHIN, replica.admin().gc(request)).await {
        Ok(pb::GcResponse {
            removed_ms,
            disk_bytes,
        }) => {
            let begins: Vec<String> = removed_ms.iter().map(|ms| human::time(*ms)).collect();
            let removed = match begins.as_slice() {
                [] => "nothing to remove".to_owned(),
                begins => format!("removed {} buckets ({})", begins.len(), begins.join(", ")),
            };
            let words = format!("{removed}; {} on disk", human::bytes(disk_bytes));
            let fields = json!({ "removed_ms": removed_ms, "disk_bytes": disk_bytes });
            Answer::done(&replica.url, words, fields)
        }
        Err(words) => Answer::failed(&replica.url, words),
    }
}

/// A topic id in Kafka's own text form.
///
/// # Errors
/// It is none.
pub fn topic(text: &str) -> anyhow::Result<TopicId> {
    TopicId::parse(text).ok_or_else(|| {
        exit::usage(format!(
            "`{text}` is not the id of a topic: it has 22 letters, digits, `-` and `_`, as `rtf registry status` shows it"
        ))
    })
}

/// Gives the log more partitions.
pub async fn split(replica: &Replica, partitions: u32, dry_run: bool) -> Answer {
    let request = replica.request(pb::SplitRequest {
        partitions,
        dry_run,
    });
    match within(SPLIT_WITHIN, replica.admin().split(request)).await {
        Ok(pb::SplitResponse { before }) => {
            let words = match (dry_run, before == partitions) {
                (_, true) => format!("the log has {partitions} partitions already"),
                (true, false) => {
                    format!("the log could be split from {before} to {partitions} partitions")
                }
                (false, false) => {
                    format!("the log is split from {before} to {partitions} partitions")
                }
            };
            let fields = json!({ "before": before, "partitions": partitions, "dry_run": dry_run });
            Answer::done(&replica.url, words, fields)
        }
        Err(words) => Answer::failed(&replica.url, words),
    }
}

pub async fn retire(replica: &Replica, topic: TopicId) -> Answer {
    let topic_id = topic.0.to_vec().into();
    let request = replica.request(pb::RetireRequest { topic_id });
    match within(ANSWER_WITHIN, replica.admin().retire(request)).await {
        Ok(pb::RetireResponse { released }) => {
            let words = match released {
                0 => format!("nothing waits for topic {topic}; nothing was appended"),
                1 => format!(
                    "topic {topic} is retired: 1 partition of it holds nothing back any more"
                ),
                n => format!(
                    "topic {topic} is retired: {n} partitions of it hold nothing back any more"
                ),
            };
            let fields = json!({ "topic_id": topic.to_string(), "released": released });
            Answer::done(&replica.url, words, fields)
        }
        Err(words) => Answer::failed(&replica.url, words),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_id_is_written_as_kafka_does() {
        let id = TopicId([0xf8; 16]);
        assert_eq!(topic(&id.to_string()).unwrap(), id);
        for wrong in [
            "",
            "clicks",
            "AAAAAAAAAAAAAAAAAAAAA",
            "AAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        ] {
            assert!(topic(wrong).is_err(), "{wrong}");
        }
    }
}
