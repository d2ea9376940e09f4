//! What goes together and what does not. Pure.

use crate::model::{Config, Policy};
use std::fmt;
use std::time::Duration;

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Severity {
    /// Refused.
    Error,
    /// Allowed, but probably not meant.
    Warning,
}

/// One thing that is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// How bad.
    pub severity: Severity,
    /// The key, dotted.
    pub key: String,
    /// What is wrong and what to do.
    pub words: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.severity == Severity::Warning {
            "warning: "
        } else {
            ""
        };
        write!(f, "{mark}`{}` {}", self.key, self.words)
    }
}

/// librdkafka properties that are ours, and what to use instead.
const OURS: [(&str, &str); 21] = [
    ("bootstrap.servers", "use [kafka].bootstrap"),
    ("metadata.broker.list", "use [kafka].bootstrap"),
    ("group.id", "use [dispatcher].group"),
    ("group.instance.id", "use [dispatcher].instance_id"),
    ("session.timeout.ms", "use [dispatcher].session_timeout"),
    (
        "heartbeat.interval.ms",
        "it follows [dispatcher].session_timeout",
    ),
    ("isolation.level", "use [dispatcher].isolation"),
    ("partition.assignment.strategy", "it is cooperative-sticky"),
    ("enable.auto.commit", "only the low-water mark is committed"),
    (
        "enable.auto.offset.store",
        "only the low-water mark is committed",
    ),
    ("auto.offset.reset", "positions are never reset silently"),
    (
        "enable.partition.eof",
        "the end of a partition must be seen",
    ),
    ("check.crcs", "checksums are always compared"),
    ("enable.idempotence", "appends are always idempotent"),
    ("acks", "appends always wait for all in-sync replicas"),
    (
        "request.required.acks",
        "appends always wait for all in-sync replicas",
    ),
    ("transactional.id", "the join log is not transactional"),
    (
        "max.in.flight.requests.per.connection",
        "the order of appends depends on it",
    ),
    ("message.max.bytes", "it follows the join log's own limit"),
    ("partitioner", "it is Java's default, murmur2"),
    ("test.mock.num.brokers", "`rtf demo` has an embedded broker"),
];

/// Ids are remembered for the horizon; half of it is left for what happens after the longest wait.
const WAIT_SHARE_OF_HORIZON: u32 = 2;

struct Checker(Vec<Problem>);

impl Checker {
    fn error(&mut self, key: &str, words: impl Into<String>) {
        self.0.push(Problem {
            severity: Severity::Error,
            key: key.into(),
            words: words.into(),
        });
    }
    fn warning(&mut self, key: &str, words: impl Into<String>) {
        self.0.push(Problem {
            severity: Severity::Warning,
            key: key.into(),
            words: words.into(),
        });
    }
    fn positive(&mut self, key: &str, duration: Duration) {
        if duration.is_zero() {
            self.error(key, "must be longer than nothing");
        }
    }
    fn pointers(&mut self, key: &str, pointers: &[String]) {
        for pointer in pointers
            .iter()
            .filter(|pointer| !pointer.is_empty() && !pointer.starts_with('/'))
        {
            self.error(key, format!("has `{pointer}`, which is not a JSON pointer: it begins with `/`, for example `/user/id`"));
        }
        if pointers.iter().any(String::is_empty) {
            self.error(key, "has an empty pointer");
        }
    }
    fn pointer(&mut self, key: &str, pointer: &str) {
        if !pointer.is_empty() {
            self.pointers(key, std::slice::from_ref(&pointer.to_owned()));
        }
    }
}

impl Config {
    /// Everything that does not go together.
    pub fn check(&self) -> Vec<Problem> {
        let mut checker = Checker(Vec::new());
        self.check_required(&mut checker);
        self.check_join(&mut checker);
        self.check_times(&mut checker);
        self.check_sizes(&mut checker);
        for (property, instead) in OURS {
            if self.kafka.properties.contains_key(property) {
                checker.error(
                    &format!("kafka.properties.{property}"),
                    format!("cannot be set: {instead}"),
                );
            }
        }
        checker.0
    }

    fn check_required(&self, checker: &mut Checker) {
        let join = &self.join;
        for (key, missing) in [
            ("join.name", join.name.is_empty()),
            ("join.foreign.topic", join.foreign.topic.is_empty()),
            ("join.foreign.key", join.foreign.key.is_empty()),
            ("join.primary.topic", join.primary.topic.is_empty()),
            ("join.primary.key", join.primary.key.is_empty()),
            ("kafka.bootstrap", self.kafka.bootstrap.is_empty()),
            ("redis.url", self.redis.url.is_empty()),
        ] {
            if missing {
                checker.error(key, "is required");
            }
        }
    }

    fn check_join(&self, checker: &mut Checker) {
        let join = &self.join;
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if !join.name.chars().all(legal) || join.name.len() > 200 {
            checker.error("join.name", "must be letters, digits, `.`, `_` and `-`, at most 200 of them: it begins the names of topics");
        }
        checker.pointers("join.foreign.id", &join.foreign.id);
        checker.pointers("join.foreign.key", &join.foreign.key);
        checker.pointer("join.foreign.time", &join.foreign.time);
        checker.pointers("join.primary.id", &join.primary.id);
        checker.pointers("join.primary.key", &join.primary.key);
        checker.pointer("join.primary.time", &join.primary.time);
        checker.pointer("join.primary.expires", &join.primary.expires);
        checker.pointer("join.match.order_by", &join.r#match.order_by);
        let (foreign, primary) = (join.foreign.key.len(), join.primary.key.len());
        if foreign != primary && foreign > 0 && primary > 0 {
            checker.error(
                "join.primary.key",
                format!(
                    "has {primary} parts, `join.foreign.key` has {foreign}: they can never be equal"
                ),
            );
        }
        if join.r#match.limit == 0 {
            checker.error("join.match.limit", "must be at least 1");
        }
        if join.r#match.policy == Policy::Best && join.r#match.order_by.is_empty() {
            checker.error("join.match.order_by", "is required by policy `best`");
        }
        if (&join.foreign.trim, &join.foreign.fold_case)
            != (&join.primary.trim, &join.primary.fold_case)
        {
            checker.warning(
                "join.primary",
                "folds keys (trim, fold_case) otherwise than [join.foreign]: some will not meet",
            );
        }
        if !join.foreign.topic.is_empty() && join.foreign.topic == join.primary.topic {
            checker.warning(
                "join.primary.topic",
                "is the foreign topic: every event is joined with itself",
            );
        }
        if join.foreign.id.is_empty() {
            checker.warning(
                "join.foreign.id",
                "is empty: an event that is sent twice is two events",
            );
        }
    }

    fn check_times(&self, checker: &mut Checker) {
        let wait = &self.join.wait;
        checker.positive("join.wait.max", wait.max.0);
        checker.positive("join.wait.retry_initial", wait.retry_initial.0);
        checker.positive("registry.horizon", self.registry.horizon.0);
        checker.positive("redis.timeout", self.redis.timeout.0);
        if wait.retry_max < wait.retry_initial {
            checker.error(
                "join.wait.retry_max",
                "is shorter than `join.wait.retry_initial`",
            );
        }
        if wait.max.0 * WAIT_SHARE_OF_HORIZON > self.registry.horizon.0 {
            let (max, horizon) = (wait.max, self.registry.horizon);
            checker.error("join.wait.max", format!("({max}) must be at most half of `registry.horizon` ({horizon}): an id must be remembered longer than its event may wait"));
        }
        if self.dispatcher.session_timeout.0 < Duration::from_secs(1) {
            checker.error("dispatcher.session_timeout", "must be at least 1s");
        }
    }

    fn check_sizes(&self, checker: &mut Checker) {
        if !(1..=4096).contains(&self.registry.partitions) {
            checker.error("registry.partitions", "must be 1 to 4096");
        }
        if !(1..=10_000).contains(&self.dispatcher.batch) {
            checker.error("dispatcher.batch", "must be 1 to 10000");
        }
        if !(1..=1024).contains(&self.dispatcher.in_flight) {
            checker.error("dispatcher.in_flight", "must be 1 to 1024");
        }
        if !(1..=10_000).contains(&self.publisher.batch_rows) {
            checker.error("publisher.batch_rows", "must be 1 to 10000");
        }
        if self.join.wait.max_events == 0 {
            checker.error("join.wait.max_events", "must be at least 1");
        }
        for (n, column) in self.web.columns.iter().enumerate() {
            checker.pointer(&format!("web.columns.{n}.value"), &column.value);
            let format = column.format.as_deref().unwrap_or("text");
            if !["text", "money", "time", "airport", "link"].contains(&format) {
                checker.error(
                    &format!("web.columns.{n}.format"),
                    "is not one of: text, money, time, airport, link",
                );
            }
            if !["start", "end"].contains(&column.align.as_deref().unwrap_or("start")) {
                checker.error(
                    &format!("web.columns.{n}.align"),
                    "is not one of: start, end",
                );
            }
        }
    }
}
