//! `rtf lookup ID`: where an event is, or how it was resolved, with its row.

use crate::whereabouts::Whereabouts;
use crate::{options, out};
use rtf_config::Config;
use serde_json::Value;
use std::process::ExitCode;

/// Prints what is known of an id. Exit code 1 unless it is resolved.
///
/// # Errors
/// The registry or Kafka does not answer.
pub async fn run(config: &Config, id: &str, json: bool) -> anyhow::Result<ExitCode> {
    let whereabouts = Whereabouts::remote(config, &options::kafka(config))?;
    let mut found = whereabouts.find(id).await?;
    if let Some(trace) = options::traces(config, &[]).trace(id) {
        found["trace"] = trace.into();
    }
    if json {
        out::line(&found)?;
    } else {
        out::write(words(&found).as_bytes())?;
    }
    Ok(if found["resolved"] == true {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn words(found: &Value) -> String {
    let mut text = state(found);
    if let Some(trace) = found["trace"].as_str() {
        text += &format!("  trace {trace}\n");
    }
    text
}

fn state(found: &Value) -> String {
    let id = found["id"].as_str().unwrap_or_default();
    match found["state"].as_str().unwrap_or_default() {
        "waiting" => format!(
            "{id}: waits for its partner; {} attempts in vain, the next in {} s at the latest\n",
            found["attempts"],
            until(&found["due_ts"])
        ),
        "parked" => format!(
            "{id}: waits for its partner, parked in {}; {} attempts in vain, the next in {} s at the latest, and at once when a partner comes\n",
            found["tier"].as_str().unwrap_or_default(),
            found["attempts"],
            until(&found["due_ts"])
        ),
        "unresolved" => {
            let note = found["note"].as_str();
            let note =
                note.unwrap_or("It is not parked: it was never read, or is being worked on.");
            format!("{id}: not resolved. {note}\n")
        }
        "forgotten" => format!("{id}: was resolved once, and is forgotten since\n"),
        state => resolved(id, state, found),
    }
}

fn resolved(id: &str, state: &str, found: &Value) -> String {
    let (offset, partition) = (&found["offset"], &found["partition"]);
    let reason = found["reason"].as_str();
    let reason = reason.map_or_else(String::new, |reason| format!(" ({reason})"));
    let mut text = format!(
        "{id}: {state}{reason}, at offset {offset} of partition {partition} of the join log\n"
    );
    for name in ["words", "note"] {
        if let Some(words) = found[name].as_str() {
            text += &format!("  {words}\n");
        }
    }
    if !found["row"].is_null() {
        text += &format!("{:#}\n", found["row"]);
    }
    text
}

/// Seconds from now, by this machine's clock.
fn until(ms: &Value) -> i64 {
    let due = ms.as_i64().unwrap_or_default();
    ((due - chrono::Utc::now().timestamp_millis()) / 1000).max(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_state_has_words() {
        let joined = json!({ "id": "a", "state": "joined", "offset": 7, "partition": 1, "row": { "id": "a" } });
        assert_eq!(
            words(&joined),
            "a: joined, at offset 7 of partition 1 of the join log\n{\n  \"id\": \"a\"\n}\n"
        );
        let given_up = json!({ "id": "a", "state": "unjoinable", "reason": "timed_out", "offset": 7, "partition": 1 });
        assert_eq!(
            words(&given_up),
            "a: unjoinable (timed_out), at offset 7 of partition 1 of the join log\n"
        );
        let waiting =
            json!({ "id": "a", "state": "waiting", "attempts": 3, "due_ts": 0, "trace": "0a" });
        assert_eq!(
            words(&waiting),
            "a: waits for its partner; 3 attempts in vain, the next in 0 s at the latest\n  trace 0a\n"
        );
    }
}
