//! What an operator does to a running dispatcher.

use crate::human;
use crate::registry::answers::Answer;
use crate::registry::replica::{ANSWER_WITHIN, Replica, within};
use rtf_proto::pb;
use rtf_proto::pb::retry_now_request::Which;
use serde_json::json;
use std::time::Duration;

pub async fn drain(dispatcher: &Replica, time: Duration) -> Answer {
    // Zero would mean the dispatcher's own default.
    let timeout_ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1);
    let request = dispatcher.request(pb::DrainRequest { timeout_ms });
    let answer = within(ANSWER_WITHIN + time, dispatcher.admin().drain(request)).await;
    let pb::DrainResponse { pending, waiting } = match answer {
        Ok(answer) => answer,
        Err(words) => return Answer::failed(&dispatcher.url, words),
    };
    let waits = format!("{} events wait for a partner", human::count(waiting));
    let fields = json!({ "paused": true, "pending": pending, "waiting": waiting });
    if pending == 0 {
        let words =
            format!("drained: paused, nothing is in flight, positions are committed; {waits}");
        return Answer::done(&dispatcher.url, words, fields);
    }
    let in_flight = human::count(pending);
    let words = format!("paused, but {in_flight} records are still in flight; {waits}");
    Answer {
        fields,
        ..Answer::failed(&dispatcher.url, words)
    }
}

pub async fn retry_now(dispatcher: &Replica, which: Which) -> Answer {
    let request = dispatcher.request(pb::RetryNowRequest { which: Some(which) });
    match within(ANSWER_WITHIN, dispatcher.admin().retry_now(request)).await {
        Ok(pb::RetryNowResponse { events }) => {
            let words = match events {
                0 => "nothing of that waits here".into(),
                1 => "1 event is tried now".into(),
                events => format!("{} events are tried now", human::count(events)),
            };
            Answer::done(&dispatcher.url, words, json!({ "events": events }))
        }
        Err(words) => Answer::failed(&dispatcher.url, words),
    }
}
