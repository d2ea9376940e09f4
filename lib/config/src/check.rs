//! What goes together and what does not. Pure.

use crate::hosts::Parts;
use crate::model::{
    Config, HTTP_PORT_DISTANCE, Layout, MOST_PARTITIONS, Policy, RedisKind, ranges, record,
};
use crate::properties;
use crate::units::Span;
use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
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

/// Each retry topic has readers of its own.
const TIERS: usize = 8;
/// Ids are remembered for the horizon; half of it is left for what happens after the longest wait.
const WAIT_SHARE_OF_HORIZON: u32 = 2;
/// Longer durations are a slip, and their milliseconds need not fit into what others count in.
const LONGEST: Duration = Duration::from_secs(3650 * 24 * 3600);
/// Partners in a row: all of them travel in one Kafka record.
const MAX_LIMIT: usize = 1000;
/// Kafka's longest topic name is 249; ours are longer than the prefix.
const MAX_NAME: usize = 200;
const PARTITIONS: std::ops::RangeInclusive<u32> = 1..=MOST_PARTITIONS;
/// Brokers refuse shorter ones unless told otherwise (group.min.session.timeout.ms).
const LEAST_SESSION: Duration = Duration::from_secs(6);
const REDIS_SCHEMES: [&str; 6] = ["redis", "rediss", "valkey", "valkeys", "unix", "redis+unix"];
const REDIS_TLS_SCHEMES: [&str; 2] = ["rediss", "valkeys"];
const FORMATS: [&str; 5] = ["text", "money", "time", "airport", "link"];
const ALIGNS: [&str; 2] = ["start", "end"];
const WIDTH_UNITS: [&str; 5] = ["%", "ch", "em", "px", "rem"];

/// What a field may be besides a JSON pointer.
const BESIDE: &str = "`@key` (the message key) or `@header.NAME` (a header)";

/// Whether there is something of this name, after the `@`, beside a record's value.
fn is_beside(name: &str) -> bool {
    let header = name.strip_prefix("header.");
    name == "key" || header.is_some_and(|header| !header.is_empty())
}

/// Whether it is something like `12em`.
fn is_width(text: &str) -> bool {
    let number = WIDTH_UNITS
        .iter()
        .filter_map(|unit| text.strip_suffix(unit));
    let mut numbers = number.filter_map(|number| number.parse::<f64>().ok());
    numbers.any(|number| number.is_finite() && number > 0.0)
}

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
    fn duration(&mut self, key: &str, duration: Duration) {
        if duration.is_zero() {
            self.error(key, "must be longer than nothing");
        }
        if duration > LONGEST {
            self.error(key, "must be at most 3650d");
        }
    }
    fn between<T: PartialOrd + fmt::Display>(
        &mut self,
        key: &str,
        value: T,
        accepted: std::ops::RangeInclusive<T>,
    ) {
        if !accepted.contains(&value) {
            let (least, most) = accepted.into_inner();
            self.error(key, format!("is {value}, must be {least} to {most}"));
        }
    }
    fn one_of(&mut self, key: &str, value: Option<&str>, accepted: &[&str]) {
        if let Some(value) = value.filter(|value| !accepted.contains(value)) {
            let accepted = accepted.join(", ");
            self.error(key, format!("= `{value}` is not one of: {accepted}"));
        }
    }
    fn certificates(&mut self, table: &str, certificate: &str, key: &str) {
        if certificate.is_empty() != key.is_empty() {
            let words = "has only one of certificate and key: they belong together";
            self.error(table, words);
        }
    }
    fn pointers(&mut self, key: &str, pointers: &[String]) {
        for pointer in pointers {
            if pointer.is_empty() {
                self.error(key, "has an empty pointer");
            } else if !pointer.starts_with('/') {
                self.error(key, format!("has `{pointer}`, which is not a JSON pointer: it begins with `/`, for example `/user/id`"));
            } else if pointer
                .split('~')
                .skip(1)
                .any(|rest| !rest.starts_with(['0', '1']))
            {
                self.error(key, format!("has `{pointer}`, which is not a JSON pointer: `~` is written `~0`, a `/` in a name `~1`"));
            }
        }
    }
    /// Parts of ids and keys: pointers, or what stands beside a record's value.
    fn fields(&mut self, key: &str, fields: &[String]) {
        for field in fields {
            match field.strip_prefix('@') {
                None if field.is_empty() || field.starts_with('/') => self.pointers(key, std::slice::from_ref(field)),
                None => self.error(key, format!("has `{field}`, which is not a JSON pointer (it begins with `/`, for example `/user/id`), nor {BESIDE}")),
                Some(name) if is_beside(name) => {}
                Some(_) => self.error(key, format!("has `{field}`, which is not {BESIDE}, nor a JSON pointer, which begins with `/`")),
            }
        }
    }
    fn time(&mut self, key: &str, field: &str) {
        if !matches!(field, "" | "@timestamp") {
            self.fields(key, std::slice::from_ref(&field.to_owned()));
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
        self.check_columns(&mut checker);
        self.check_map(&mut checker);
        self.check_addresses(&mut checker);
        checker
            .0
            .extend(properties::problems(&self.kafka.properties));
        self.check_operations(&mut checker);
        checker.0
    }

    fn check_operations(&self, checker: &mut Checker) {
        for place in &self.registry.skip_records {
            // A split may have given the log more partitions than are configured.
            if record(place).is_none() {
                checker.error(
                    "registry.skip_records",
                    format!("has `{place}`: it is written partition/offset, for example `3/1234`"),
                );
            }
        }
        if ranges(&self.registry.serves).is_none() {
            let words = format!(
                "is `{}`: partitions are written like `0-7` or `0,4-7`, from 0 to {}",
                self.registry.serves,
                MOST_PARTITIONS - 1
            );
            checker.error("registry.serves", words);
        }
        self.check_traces(checker);
        // The token itself is not repeated.
        if !self
            .admin
            .token
            .reveal()
            .bytes()
            .all(|byte| byte.is_ascii_graphic())
        {
            checker.error(
                "admin.token",
                "must be visible ASCII without spaces: it travels in a header",
            );
        }
    }

    fn check_traces(&self, checker: &mut Checker) {
        let traces = &self.telemetry.traces;
        checker.between("telemetry.traces.sample", traces.sample, 0.0..=1.0);
        let endpoint = traces.endpoint.as_str();
        let schemes = ["http://", "https://"];
        if !endpoint.is_empty() && !schemes.iter().any(|scheme| endpoint.starts_with(scheme)) {
            checker.error(
                "telemetry.traces.endpoint",
                "is not an address such as http://127.0.0.1:4317",
            );
        }
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
        if !join.name.chars().all(legal) || join.name.len() > MAX_NAME {
            checker.error("join.name", format!("must be letters, digits, `.`, `_` and `-`, at most {MAX_NAME} of them: it begins the names of topics"));
        }
        checker.fields("join.foreign.id", &join.foreign.id);
        checker.fields("join.foreign.key", &join.foreign.key);
        checker.time("join.foreign.time", &join.foreign.time);
        checker.fields("join.primary.id", &join.primary.id);
        checker.fields("join.primary.key", &join.primary.key);
        checker.time("join.primary.time", &join.primary.time);
        checker.pointer("join.primary.expires", &join.primary.expires);
        checker.pointer("join.match.order_by", &join.r#match.order_by);
        checker.between("join.match.limit", join.r#match.limit, 1..=MAX_LIMIT);
        if join.r#match.policy == Policy::Best && join.r#match.order_by.is_empty() {
            checker.error("join.match.order_by", "is required by policy `best`");
        }
        self.check_sides(checker);
        self.check_layout(checker);
    }

    /// The partitioned layout finds a key's primaries by the hash of the key, as their producer put them there by the hash of the message key.
    fn check_layout(&self, checker: &mut Checker) {
        let primary = &self.join.primary;
        if self.joiner.layout == Layout::All {
            return;
        }
        if primary.key.len() > 1 {
            let words = format!(
                "cannot be `partitioned` with the {} parts of `join.primary.key`: a message key of its own says in which partition a \
                                 primary stands; use one field, or layout = \"all\"",
                primary.key.len()
            );
            checker.error("joiner.layout", words);
        }
        if primary.trim || primary.fold_case {
            checker.error(
                "joiner.layout",
                "cannot be `partitioned` with `join.primary.trim` or `fold_case`: keys that are made alike may stand in different partitions; fold them \
                 in the producer, or use layout = \"all\"",
            );
        }
    }

    /// What the foreign and the primary side must have in common.
    fn check_sides(&self, checker: &mut Checker) {
        let (foreign, primary) = (&self.join.foreign, &self.join.primary);
        let (keys, others) = (foreign.key.len(), primary.key.len());
        if keys != others && keys > 0 && others > 0 {
            checker.error(
                "join.primary.key",
                format!(
                    "has {others} parts, `join.foreign.key` has {keys}: they can never be equal"
                ),
            );
        }
        if (foreign.trim, foreign.fold_case) != (primary.trim, primary.fold_case) {
            checker.warning(
                "join.primary",
                "folds keys (trim, fold_case) otherwise than [join.foreign]: some will not meet",
            );
        }
        if !foreign.topic.is_empty() && foreign.topic == primary.topic {
            checker.warning(
                "join.primary.topic",
                "is the foreign topic: every event is joined with itself",
            );
        }
        if foreign.id.is_empty() {
            checker.warning(
                "join.foreign.id",
                "is empty: an event that is sent twice is two events",
            );
        }
    }

    fn check_times(&self, checker: &mut Checker) {
        let (wait, horizon) = (&self.join.wait, self.registry.horizon);
        checker.duration("join.wait.max", wait.max.0);
        let collect = self.join.r#match.collect;
        if collect.0 >= wait.max.0 && !wait.max.0.is_zero() {
            checker.error(
                "join.match.collect",
                format!(
                    "({collect}) must be less than `join.wait.max` ({}): the longest wait ends it",
                    wait.max
                ),
            );
        }
        checker.duration("join.wait.retry_initial", wait.retry_initial.0);
        checker.duration("join.wait.retry_max", wait.retry_max.0);
        checker.duration("registry.horizon", horizon.0);
        let distinct: BTreeSet<Span> = wait.tiers.iter().copied().collect();
        for tier in &wait.tiers {
            checker.duration("join.wait.tiers", tier.0);
        }
        if wait.tiers.is_empty() || distinct.len() != wait.tiers.len() || wait.tiers.len() > TIERS {
            checker.error(
                "join.wait.tiers",
                format!(
                    "must be 1 to {TIERS} durations, each once: every one is a topic of its own"
                ),
            );
        }
        checker.duration("redis.timeout", self.redis.timeout.0);
        checker.duration(
            "dispatcher.session_timeout",
            self.dispatcher.session_timeout.0,
        );
        checker.duration("joiner.session_timeout", self.joiner.session_timeout.0);
        checker.duration("dispatcher.claim", self.dispatcher.claim.0);
        if !self.dispatcher.site.is_empty() && self.dispatcher.sites().is_none() {
            checker.error(
                "dispatcher.site",
                "is not like \"1/2\": the number of this pipeline, from 1, and how many there are",
            );
        }
        if wait.retry_max < wait.retry_initial {
            checker.error(
                "join.wait.retry_max",
                "is shorter than `join.wait.retry_initial`",
            );
        }
        if wait.max.0 > horizon.0 / WAIT_SHARE_OF_HORIZON {
            let max = wait.max;
            checker.error("join.wait.max", format!("({max}) must be at most half of `registry.horizon` ({horizon}): an id must be remembered longer than its event may wait"));
        }
        for (key, session) in [
            (
                "dispatcher.session_timeout",
                self.dispatcher.session_timeout,
            ),
            ("joiner.session_timeout", self.joiner.session_timeout),
        ] {
            if session.0 < LEAST_SESSION {
                checker.warning(key, "is less than 6s: brokers refuse it unless their group.min.session.timeout.ms is lowered too");
            }
        }
    }

    fn check_sizes(&self, checker: &mut Checker) {
        let wait = &self.join.wait;
        checker.between("registry.partitions", self.registry.partitions, PARTITIONS);
        checker.between("dispatcher.batch", self.dispatcher.batch, 1..=10_000);
        checker.between("dispatcher.in_flight", self.dispatcher.in_flight, 1..=1024);
        for (key, empty) in [
            ("join.wait.max_events", wait.max_events == 0),
            ("join.wait.max_bytes", wait.max_bytes.0 == 0),
            ("joiner.memory", self.joiner.memory.0 == 0),
        ] {
            if empty {
                checker.error(key, "must be more than nothing");
            }
        }
    }

    fn check_columns(&self, checker: &mut Checker) {
        for (n, column) in self.web.columns.iter().enumerate() {
            let key = |name: &str| format!("web.columns.{n}.{name}");
            checker.pointer(&key("value"), &column.value);
            checker.pointers(&key("details"), &column.details);
            checker.one_of(&key("format"), column.format.as_deref(), &FORMATS);
            checker.one_of(&key("align"), column.align.as_deref(), &ALIGNS);
            if let Some(width) = column.width.as_deref().filter(|width| !is_width(width)) {
                let units = WIDTH_UNITS.join(", ");
                checker.error(
                    &key("width"),
                    format!("= `{width}` is not a number with one of the units {units}"),
                );
            }
        }
    }

    fn check_map(&self, checker: &mut Checker) {
        let map = &self.web.map;
        for (key, pointers) in [("web.map.from", &map.from), ("web.map.to", &map.to)] {
            checker.pointers(key, pointers);
            if pointers.len() > 2 {
                checker.error(
                    key,
                    "has more than two pointers: it is one, to a place's code, or two, to degrees north and degrees east",
                );
            }
        }
        if map.from.is_empty() && !map.to.is_empty() {
            checker.error("web.map.to", "is set, but `web.map.from` is not");
        }
        checker.pointer("web.map.label", &map.label);
        for (n, place) in map.places.iter().enumerate() {
            let degrees = [
                ("latitude", place.latitude, 90.0),
                ("longitude", place.longitude, 180.0),
            ];
            for (name, value, most) in degrees {
                checker.between(&format!("web.map.places.{n}.{name}"), value, -most..=most);
            }
        }
    }

    fn check_addresses(&self, checker: &mut Checker) {
        self.check_redis(checker);
        let roles = &self.cluster.tls;
        checker.certificates("cluster.tls", &roles.certificate, &roles.key);
        if !roles.is_on() && !roles.certificate.is_empty() {
            checker.error("cluster.tls.ca", "is missing: who signed the certificates?");
        }
        for (key, urls) in [
            ("cluster.registries", &self.cluster.registries),
            ("cluster.joiners", &self.cluster.joiners),
            ("cluster.dispatchers", &self.cluster.dispatchers),
            ("cluster.publishers", &self.cluster.publishers),
        ] {
            let scheme = self.cluster.tls.scheme();
            for url in urls.iter().filter(|url| !url.starts_with(scheme)) {
                let because = if self.cluster.tls.is_on() {
                    ", since [cluster.tls] is set"
                } else {
                    ""
                };
                checker.error(
                    key,
                    format!("has `{url}`: it begins with {scheme}{because}"),
                );
            }
        }
        let highest = u16::MAX - HTTP_PORT_DISTANCE;
        for (key, listen, http) in self.listeners() {
            if http.is_none() && listen.port() > highest {
                checker.error(&format!("{key}.listen"), format!("leaves no port for health and metrics, which are served on the port + {HTTP_PORT_DISTANCE}: choose one up to {highest}, or set `{key}.http`"));
            }
        }
        self.check_ports(checker);
        self.check_auth(checker);
    }

    /// The URL itself is not repeated: it may hold a password.
    fn check_redis(&self, checker: &mut Checker) {
        let redis = &self.redis;
        let url = redis.url.reveal();
        let scheme = url.split_once("://").map(|(scheme, _)| scheme);
        if !url.is_empty() && !scheme.is_some_and(|s| REDIS_SCHEMES.contains(&s)) {
            checker.error(
                "redis.url",
                "is not a URL of Redis, such as redis://127.0.0.1:6379",
            );
        }
        checker.certificates("redis.tls", &redis.tls.certificate, &redis.tls.key);
        let speaks_tls = scheme.is_some_and(|scheme| REDIS_TLS_SCHEMES.contains(&scheme));
        if !redis.tls.is_empty() && !speaks_tls {
            checker.error(
                "redis.tls",
                "is set, but redis.url does not begin with rediss://",
            );
        }
        self.check_redis_hosts(checker);
        self.check_sentinel(checker);
    }

    fn check_redis_hosts(&self, checker: &mut Checker) {
        let (kind, word) = (self.redis.kind, self.redis.kind.word());
        let url = self.redis.url.reveal();
        let Some(parts) = Parts::of(url) else {
            if kind != RedisKind::Single && !url.is_empty() {
                let words = format!("is `{word}`, but redis.url names no host");
                checker.error("redis.kind", words);
            }
            return;
        };
        if parts.hosts().any(str::is_empty) {
            checker.error("redis.url", "has a comma, and no host on one side of it");
        }
        if kind == RedisKind::Single && parts.hosts().count() > 1 {
            let words = "names several hosts: set redis.kind to `sentinel` or `cluster`, which are reached by them";
            checker.error("redis.url", words);
        }
        let database = parts.after.split('?').next().unwrap_or_default();
        if kind == RedisKind::Cluster && !matches!(database, "" | "/" | "/0") {
            checker.error("redis.url", "names a database, and a cluster has but one");
        }
    }

    fn check_sentinel(&self, checker: &mut Checker) {
        let (kind, sentinel) = (self.redis.kind, &self.redis.sentinel);
        if kind != RedisKind::Sentinel {
            if !sentinel.is_empty() {
                let words = format!("is set, but redis.kind is `{}`", kind.word());
                checker.error("redis.sentinel", words);
            }
            return;
        }
        if sentinel.master.is_empty() {
            checker.error(
                "redis.sentinel.master",
                "is required by redis.kind = \"sentinel\": the name under which they watch the primary",
            );
        }
        if !sentinel.user.is_empty() && sentinel.password.is_empty() {
            checker.error("redis.sentinel.user", "has no password beside it");
        }
    }

    fn check_auth(&self, checker: &mut Checker) {
        let auth = &self.web.auth;
        if auth.user.is_empty() != auth.password.is_empty() {
            let words = "has only one of user and password: they belong together";
            checker.error("web.auth", words);
        }
        if auth.user.contains(':') {
            checker.error("web.auth.user", "has a `:`, which no browser can send");
        }
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if !auth.trusted_header.bytes().all(is_token) {
            let words = "is not the name of a header: letters, digits and `-`";
            checker.error("web.auth.trusted_header", words);
        }
    }

    /// Roles with a gRPC port: section, where it listens, and where health and metrics are served if that is said.
    fn listeners(&self) -> [(&'static str, SocketAddr, Option<SocketAddr>); 4] {
        [
            ("registry", self.registry.listen, self.registry.http_at),
            ("joiner", self.joiner.listen, self.joiner.http_at),
            (
                "dispatcher",
                self.dispatcher.listen,
                self.dispatcher.http_at,
            ),
            ("publisher", self.publisher.listen, self.publisher.http_at),
        ]
    }

    /// Two roles on one port may run on two machines, but not on one.
    fn check_ports(&self, checker: &mut Checker) {
        let ports = [
            ("registry.listen", self.registry.listen),
            ("registry.http", self.registry.http()),
            ("joiner.listen", self.joiner.listen),
            ("joiner.http", self.joiner.http()),
            ("dispatcher.listen", self.dispatcher.listen),
            ("dispatcher.http", self.dispatcher.http()),
            ("publisher.listen", self.publisher.listen),
            ("publisher.http", self.publisher.http()),
            ("web.listen", self.web.listen),
        ];
        for (n, (key, address)) in ports.iter().enumerate() {
            let same = |(_, other): &&(&str, SocketAddr)| address.port() > 0 && other == address;
            if let Some((first, _)) = ports[..n].iter().find(same) {
                checker.warning(
                    key,
                    format!("({address}) is `{first}` too: these roles cannot run on one machine"),
                );
            }
        }
    }
}
