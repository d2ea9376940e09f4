//! Clocks: this machine's against the brokers'. Against Redis's stands in `redis.rs`.
//!
//! Kafka cannot be asked for its time, and a record written to learn it would be read by others. So the join log's newest record is looked at, which
//! has the broker's time of its append: a running registry appends something to each partition every minute or so. It cannot be from the
//! future; and if it is recent, the clocks are no further apart than it is old.

use super::finding::Finding;
use super::{Asking, because};
use crate::human;
use crate::sample::{self, Bounds};
use rtf_kafka::Isolation;
use rtf_proto::naming;
use std::time::Duration;

/// Clocks that are kept by NTP are nearer than this.
pub const APART_MS: i64 = 2_000;
/// What is older says nothing of clocks.
const RECENT_MS: i64 = 120_000;
const LAST_RECORDS: Bounds = Bounds {
    first: 0,
    last: 1,
    bytes: 64 << 20,
    time: Duration::from_secs(10),
};

const SUBJECT: &str = "broker clock";

/// Compares.
pub fn brokers(asking: &Asking) -> Vec<Finding> {
    let log = naming::log_topic(&asking.config.join.name);
    let newest = sample::take(
        &asking.cluster,
        &asking.settings,
        &log,
        Isolation::ReadUncommitted,
        LAST_RECORDS,
    );
    let now = chrono::Utc::now().timestamp_millis();
    vec![match newest {
        Err(error) => Finding::warn(SUBJECT, because(error), ""),
        Ok(sample) => {
            let records = sample.map(|sample| sample.records).unwrap_or_default();
            let newest = records.iter().map(|record| record.timestamp_ms).max();
            judge(newest, now)
        }
    }]
}

fn judge(newest_ms: Option<i64>, now_ms: i64) -> Finding {
    let age = newest_ms.map(|newest| now_ms - newest);
    match age {
        Some(age) if age < -APART_MS => Finding::warn(
            SUBJECT,
            format!(
                "the join log's newest record is from {} in the future",
                human::span(-age)
            ),
            "the brokers' clocks are ahead of this machine's: run NTP on both. The join does not depend on it, times on the page and of expiry do",
        ),
        Some(age) if age <= RECENT_MS => Finding::ok(
            SUBJECT,
            format!(
                "the join log's newest record was appended {} ago by the broker's clock",
                human::span(age.max(0))
            ),
        ),
        Some(age) => Finding::ok(
            SUBJECT,
            format!(
                "cannot be told: the join log's newest record is {} old, and asking would mean writing",
                human::span(age)
            ),
        ),
        None => Finding::ok(
            SUBJECT,
            "cannot be told before the join log has records: asking would mean writing",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Status;
    use super::*;

    #[test]
    fn only_the_future_is_wrong() {
        let now = 1_700_000_000_000;
        for (newest, status, words) in [
            (Some(now - 5_000), Status::Ok, "appended 5s ago"),
            (Some(now + 1_000), Status::Ok, "appended 0s ago"),
            (Some(now + 60_000), Status::Warn, "1m in the future"),
            (Some(now - 3_600_000), Status::Ok, "cannot be told"),
            (None, Status::Ok, "cannot be told"),
        ] {
            let found = judge(newest, now);
            assert!(
                found.status == status && found.words.contains(words),
                "{found:?}"
            );
        }
    }
}
