//! How every client is configured: what the user passes through, and what we set and why.

use crate::{KafkaError, refusal};
use parking_lot::Mutex;
use rdkafka::ClientConfig;
use rdkafka::client::{Client, ClientContext};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError as Native, KafkaResult, RDKafkaErrorCode as Code};
use rtf_proto::Offset;
use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

/// Which Kafka, and the user's own client properties.
#[derive(Clone, Default)]
pub struct Settings {
    /// `host:port`, comma separated.
    pub bootstrap: String,
    /// Passed through to librdkafka with their dotted names.
    pub properties: BTreeMap<String, String>,
    /// Talks to the embedded mock cluster, whose empty fetches sleep their whole waiting time.
    pub embedded: bool,
    /// How much a consumer fetches ahead.
    pub prefetch: Prefetch,
}

/// How much a consumer fetches ahead.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Prefetch {
    /// Enough for a reader at full speed.
    #[default]
    Full,
    /// A fraction of it, for one of several readers in a process.
    Frugal,
}

impl Prefetch {
    fn apply(self, config: &mut ClientConfig) {
        match self {
            Self::Full => config
                .set("queued.min.messages", "20000")
                .set("queued.max.messages.kbytes", "8192"),
            Self::Frugal => config
                .set("queued.min.messages", "5000")
                .set("queued.max.messages.kbytes", "2048")
                // An answer stays in memory until all of it was read. A larger batch of records comes all the same, alone (KIP-74).
                .set("max.partition.fetch.bytes", "131072"),
        };
    }
}

/// Which records of transactions are seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Isolation {
    /// Only those of committed transactions.
    ReadCommitted,
    /// All; an open transaction does not hold the reader up (RULE 8).
    ReadUncommitted,
}

impl Isolation {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::ReadCommitted => "read_committed",
            Self::ReadUncommitted => "read_uncommitted",
        }
    }
}

/// Of the properties only the names: the values may be secrets.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let properties: Vec<_> = self.properties.keys().collect();
        f.debug_struct("Settings")
            .field("bootstrap", &self.bootstrap)
            .field("properties", &properties)
            .field("embedded", &self.embedded)
            .field("prefetch", &self.prefetch)
            .finish()
    }
}

impl Settings {
    /// Whether it talks to a Kafka that is made up, on threads that are.
    #[cfg(feature = "simulation")]
    pub fn is_simulated(&self) -> bool {
        crate::simulated::is_named(self)
    }

    /// Whether topics keep the partitions they were made with: those of the embedded broker do.
    pub fn topics_are_fixed(&self) -> bool {
        #[cfg(feature = "simulation")]
        if self.is_simulated() {
            return false;
        }
        self.embedded
    }

    /// What all clients share.
    pub(crate) fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.bootstrap)
            .set("client.id", "ready-to-fly")
            .set("socket.nagle.disable", "true")
            // A broker that came back is found within a second, not ten.
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "1000")
            .set("retry.backoff.ms", "50")
            // While a partition has no leader, appends are tried again and its leader is asked for after the double each time, up to this. A second, the
            // default, is as much later than the new leader.
            .set("retry.backoff.max.ms", "250")
            // A broker that is frozen or cut off without a word is given up within seconds, not a minute (half of one for a connection that is made):
            // what TCP sends again after a longer silence comes as much later. Sooner than a session ends: a member whose coordinator is frozen has two
            // seconds left to find the next one.
            .set("socket.timeout.ms", "4000")
            .set("socket.connection.setup.timeout.ms", "3000")
            // When a broker dies librdkafka asks once who leads its partitions now, and is told: the dead one, until the controller has missed it. The
            // next question is this one.
            .set("topic.metadata.refresh.interval.ms", "500")
            // While no broker answers, what is known of a topic is not given up sooner for it: three intervals would be the default.
            .set("metadata.max.age.ms", "6000");
        for (key, value) in &self.properties {
            config.set(key, value);
        }
        config.set_log_level(RDKafkaLogLevel::Warning);
        config
    }

    /// What all consumers share: a small prefetch, quick to refill, so that memory stays flat.
    pub(crate) fn consumer(&self, isolation: Isolation) -> ClientConfig {
        let mut config = self.client();
        config
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("enable.partition.eof", "true")
            .set("check.crcs", "true")
            .set("isolation.level", isolation.as_str())
            .set("fetch.wait.max.ms", if self.embedded { "5" } else { "100" })
            .set("fetch.error.backoff.ms", "50")
            // The default of a second would stall a reader that empties the small queue sooner.
            .set("fetch.queue.backoff.ms", "2");
        self.prefetch.apply(&mut config);
        config
    }
}

/// Carries librdkafka's own words into our log.
#[derive(Clone, Debug)]
pub(crate) struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, words: &str) {
        log(level, facility, words);
    }
    fn error(&self, error: rdkafka::error::KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "kafka client");
    }
}

impl ConsumerContext for Quiet {}

pub(crate) fn log(level: RDKafkaLogLevel, facility: &str, words: &str) {
    if let Some(advice) = refusal::advice(words) {
        return warn_of_refusal(words, advice);
    }
    match level {
        // Broker connections that come and go are told by the roles that notice them, once.
        _ if facility == "FAIL" || facility == "ERROR" => {
            tracing::debug!(facility, "librdkafka: {words}")
        }
        RDKafkaLogLevel::Emerg
        | RDKafkaLogLevel::Alert
        | RDKafkaLogLevel::Critical
        | RDKafkaLogLevel::Error => {
            tracing::warn!(facility, "librdkafka: {words}");
        }
        RDKafkaLogLevel::Warning | RDKafkaLogLevel::Notice => {
            tracing::info!(facility, "librdkafka: {words}")
        }
        RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
            tracing::debug!(facility, "librdkafka: {words}")
        }
    }
}

/// Every client of a process is refused alike, and tries again each second: it is said once in such a time.
const REFUSAL_SAID_EVERY: Duration = Duration::from_secs(60);

fn warn_of_refusal(words: &str, advice: &str) {
    static SAID: Mutex<Option<Instant>> = Mutex::new(None);
    if is_to_be_said(&mut SAID.lock(), Instant::now()) {
        tracing::warn!(
            advice,
            "Kafka refuses this client: {}",
            refusal::reason(words)
        );
    }
}

/// Whether a refusal is said again; if so, it was.
fn is_to_be_said(said: &mut Option<Instant>, now: Instant) -> bool {
    let is_due = said.is_none_or(|at| now.duration_since(at) >= REFUSAL_SAID_EVERY);
    if is_due {
        *said = Some(now);
    }
    is_due
}

/// Offsets and partitions are never negative in what we keep; Kafka's own are signed.
pub(crate) fn signed(offset: u64) -> i64 {
    i64::try_from(offset).expect("Kafka's offsets fit into 63 bits")
}

pub(crate) fn partition(number: u32) -> i32 {
    i32::try_from(number).expect("Kafka's partitions fit into 31 bits")
}

pub(crate) fn create<T, C: ClientContext>(
    config: &ClientConfig,
    context: C,
) -> Result<T, KafkaError>
where
    T: rdkafka::config::FromClientConfigAndContext<C>,
{
    config
        .create_with_context(context)
        .map_err(KafkaError::settings)
}

/// The topic's partitions, asked of the broker; the client knows them all from then on.
pub(crate) fn partitions<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    timeout: Duration,
) -> Result<u32, KafkaError> {
    let metadata = client
        .fetch_metadata(Some(topic), timeout)
        .map_err(|e| KafkaError::topic(topic, e))?;
    let known = metadata.topics().first();
    let partitions = known.map_or(0, |topic| topic.partitions().len());
    Ok(u32::try_from(partitions).unwrap_or(u32::MAX))
}

/// Between two questions to a cluster that has yet to decide who answers.
const ELECTION_POLL: Duration = Duration::from_millis(50);
/// What is said of a partition without a leader, or with a new one; and by librdkafka, when the broker that it asked leaves the cluster before it answers.
const ELECTING: [Code; 6] = [
    Code::DestroyBroker,
    Code::NotLeaderForPartition,
    Code::LeaderNotAvailable,
    Code::OffsetNotAvailable,
    Code::UnknownTopicOrPartition,
    Code::UnknownPartition,
];

/// Asks again within that time, as long as the answer is one of these.
pub(crate) fn ask_until_decided<T>(
    within: Duration,
    undecided: &[Code],
    mut ask: impl FnMut() -> KafkaResult<T>,
) -> KafkaResult<T> {
    let deadline = Instant::now() + within;
    loop {
        let answer = ask();
        let code = answer.as_ref().err().and_then(Native::rdkafka_error_code);
        if !code.is_some_and(|code| undecided.contains(&code)) || Instant::now() >= deadline {
            return answer;
        }
        std::thread::sleep(ELECTION_POLL);
    }
}

/// The partition's first offset and its end (one past the last). A topic made a moment ago may have no leader yet, and a new leader may not know its
/// high watermark yet (KIP-207): asked again until `timeout`.
pub(crate) fn watermarks<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    number: u32,
    timeout: Duration,
) -> Result<(Offset, Offset), KafkaError> {
    let ask = || client.fetch_watermarks(topic, partition(number), timeout);
    let (first, end) = ask_until_decided(timeout, &ELECTING, ask)
        .map_err(|error| KafkaError::topic(topic, format!("partition {number}: {error}")))?;
    Ok((first.max(0).unsigned_abs(), end.max(0).unsigned_abs()))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The user's own properties take away all that the protocol needs.
    pub fn careless() -> Settings {
        let properties = [
            ("enable.idempotence", "false"),
            ("acks", "1"),
            ("transactional.id", "t"),
            ("enable.auto.commit", "true"),
            ("enable.auto.offset.store", "true"),
            ("auto.offset.reset", "latest"),
            ("check.crcs", "false"),
            ("isolation.level", "read_committed"),
            ("partition.assignment.strategy", "range"),
            ("session.timeout.ms", "45000"),
            ("heartbeat.interval.ms", "30000"),
        ];
        Settings {
            properties: (properties.iter())
                .map(|(key, value)| ((*key).into(), (*value).into()))
                .collect(),
            ..Settings::default()
        }
    }

    #[test]
    fn a_refusal_is_said_once_a_minute() {
        let (mut said, began) = (None, Instant::now());
        let at = |seconds| began + Duration::from_secs(seconds);
        let is_said = [0, 1, 59, 60, 61, 119, 120].map(|s| is_to_be_said(&mut said, at(s)));
        assert_eq!(is_said, [true, false, false, true, false, false, true]);
    }

    #[test]
    fn while_leaders_are_elected_a_question_is_asked_again() {
        const ENOUGH: Duration = Duration::from_secs(10);
        for code in ELECTING {
            let mut answers = vec![Ok(7), Err(Native::OffsetFetch(code))];
            let answer = ask_until_decided(ENOUGH, &ELECTING, || answers.pop().unwrap());
            assert_eq!(answer, Ok(7), "{code:?}");
        }
        let mut answers = vec![Ok(7), Err(Native::OffsetFetch(Code::Authentication))];
        let answer = ask_until_decided(ENOUGH, &ELECTING, || answers.pop().unwrap());
        assert!(answer.is_err(), "what no election explains is said at once");
    }

    pub fn expect(config: &ClientConfig, wanted: &[(&str, &str)]) {
        for (key, value) in wanted {
            assert_eq!(config.get(key), Some(*value), "{key}");
        }
    }
}
