//! `rtf registry lookup ID`: who won an id, as each replica remembers it.

use super::answers::{self, Answer};
use super::parts;
use super::replica::{ANSWER_WITHIN, Replica, within};
use crate::human;
use rtf_proto::{Resolved, pb};
use serde_json::json;
use std::process::ExitCode;

/// A line per replica that serves the id's partition; 1 unless all of them know it.
///
/// # Errors
/// Standard output cannot be written.
pub async fn run(replicas: &[Replica], id: &str, json: bool) -> anyhow::Result<ExitCode> {
    let directory = parts::directory(replicas).await;
    let partition = directory.partition_of(id.as_bytes());
    let elsewhere = |at| !directory.roots_of(at).is_empty() && !directory.serves(at, partition);
    let asked: Vec<_> = (replicas.iter().enumerate())
        .filter(|(at, _)| !elsewhere(*at))
        .map(|(_, replica)| ask(replica, id))
        .collect();
    let answers = futures::future::join_all(asked).await;
    let code = answers::print(&answers, json)?;
    match directory.who(partition) {
        Ok(_) => Ok(code),
        Err(error) => {
            eprintln!("rtf: {error}");
            Ok(ExitCode::FAILURE)
        }
    }
}

async fn ask(replica: &Replica, id: &str) -> Answer {
    let request = replica.request(pb::AdminLookupRequest {
        id: id.to_owned().into(),
    });
    match within(ANSWER_WITHIN, replica.admin().lookup(request)).await {
        Ok(answer) => said(&replica.url, id, answer),
        Err(words) => Answer::failed(&replica.url, words),
    }
}

fn said(url: &str, id: &str, answer: pb::AdminLookupResponse) -> Answer {
    let found = answer.found.unwrap_or_default().try_into();
    let (resolved, bucket): (Resolved, _) = match (found, answer.bucket) {
        (Ok(Some(resolved)), Some(bucket)) => (resolved, bucket),
        (Ok(_), _) => {
            return Answer {
                fields: json!({ "id": id, "resolved": false }),
                ..Answer::failed(
                    url,
                    "not remembered: never read, waiting for its partner, or forgotten",
                )
            };
        }
        (Err(bad), _) => return Answer::failed(url, bad.to_string()),
    };
    let Resolved {
        partition,
        offset,
        outcome,
    } = resolved;
    let words = format!(
        "{outcome} at offset {offset} of partition {partition}, in the bucket of {}",
        human::time(bucket.begin_ms)
    );
    let fields = json!({
        "id": id, "resolved": true, "outcome": outcome.as_str(), "partition": partition, "offset": offset,
        "bucket": { "begin_ms": bucket.begin_ms, "ids": bucket.ids, "sealed": bucket.sealed },
    });
    Answer::done(url, words, fields)
}
