//! Questions to the cluster, and making topics. Blocking, with time-outs.

use crate::administering::Administering;
use crate::positions::Positions;
use crate::refusal;
use crate::rights::Rights;
use crate::settings::{self, Quiet, create};
#[cfg(feature = "simulation")]
use crate::simulated;
use crate::topic_id::{Asked, Described, Silence, describe};
use crate::{Isolation, KafkaError, Settings};
use futures::executor::block_on;
use parking_lot::Mutex;
use rdkafka::admin::{
    AdminClient, AdminOptions, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::{Client, ClientContext};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::metadata::Metadata;
use rtf_proto::{Offset, PartitionId, TopicId};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long one question may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long a question waits before we look why there is no answer, and how long that takes at most.
const SLICE: Duration = Duration::from_secs(2);
const LISTEN: Duration = Duration::from_secs(3);
const MOMENT: Duration = Duration::from_millis(100);
/// How long the first description of a topic is waited for; each further one twice as long as the one before.
const DESCRIBED_WITHIN: Duration = Duration::from_millis(500);
/// How long a topic may take to be seen after it was made.
const VISIBLE_WITHIN: Duration = Duration::from_secs(10);

/// What the cluster says of a topic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TopicInfo {
    /// Kafka's UUID of it; zeros where the broker has none.
    pub id: TopicId,
    /// Number of partitions.
    pub partitions: u32,
}

/// A client for questions and administration.
pub struct Cluster {
    admin: Admin,
    settings: Settings,
}

enum Admin {
    Native(Administering),
    #[cfg(feature = "simulation")]
    Simulated(String),
}

impl Cluster {
    /// Makes the client; the broker is first asked by a question.
    ///
    /// # Errors
    /// Settings that librdkafka does not accept.
    pub fn connect(settings: &Settings) -> Result<Self, KafkaError> {
        #[cfg(feature = "simulation")]
        if let Some(client) = simulated::client(settings) {
            let (admin, settings) = (Admin::Simulated(client), settings.clone());
            return Ok(Self { admin, settings });
        }
        let mut config = settings.client();
        // A partition's end is where its last record stands, also behind a transaction that hangs.
        config.set("isolation.level", Isolation::ReadUncommitted.as_str());
        Ok(Self {
            admin: Admin::Native(Administering::new(&config)?),
            settings: settings.clone(),
        })
    }

    fn admin(&self) -> Result<&AdminClient<Quiet>, KafkaError> {
        match &self.admin {
            Admin::Native(admin) => Ok(admin),
            #[cfg(feature = "simulation")]
            Admin::Simulated(_) => Err(self.unanswered("the simulated cluster is not asked that")),
        }
    }

    /// What there is under this name; `None` when there is no such topic.
    ///
    /// # Errors
    /// No answer.
    pub fn topic(&self, name: &str) -> Result<Option<TopicInfo>, KafkaError> {
        #[cfg(feature = "simulation")]
        if let Admin::Simulated(_) = &self.admin {
            return Ok(simulated::kafka().topic(name));
        }
        if self.settings.embedded {
            return self.embedded_topic(name).map(Some);
        }
        let described = self.described(name, Asked::Topic)?;
        Ok(described.map(|(info, _)| info))
    }

    /// As [`topic`](Self::topic), with what may be done with it; no rights where the broker does not say.
    ///
    /// # Errors
    /// No answer, or not even the right to ask.
    pub fn topic_and_rights(
        &self,
        name: &str,
    ) -> Result<Option<(TopicInfo, Option<Rights>)>, KafkaError> {
        self.described(name, Asked::Rights)
    }

    fn described(
        &self,
        name: &str,
        asked: Asked,
    ) -> Result<Option<(TopicInfo, Option<Rights>)>, KafkaError> {
        match patiently_described(self.admin()?.inner(), name, asked) {
            Ok(Described::Topic {
                id,
                partitions,
                rights,
            }) => Ok(Some((TopicInfo { id, partitions }, rights))),
            Ok(Described::Unknown) => Ok(None),
            Ok(Described::Forbidden) => Err(KafkaError::topic(
                name,
                "the broker refuses to describe it (TOPIC_AUTHORIZATION_FAILED)",
            )),
            Err(Silence::TimedOut(words) | Silence::Failed(words)) => Err(self.unreachable(words)),
        }
    }

    /// The mock cluster has no controller to ask for a description, and makes what it is asked for.
    fn embedded_topic(&self, name: &str) -> Result<TopicInfo, KafkaError> {
        Ok(TopicInfo {
            id: TopicId::default(),
            partitions: settings::partitions(self.admin()?.inner(), name, TIMEOUT)?,
        })
    }

    /// The names of all topics that begin so.
    ///
    /// # Errors
    /// No answer.
    pub fn topics(&self, prefix: &str) -> Result<Vec<String>, KafkaError> {
        let metadata = self.metadata()?;
        let names = metadata.topics().iter().map(|topic| topic.name());
        Ok(names
            .filter(|name| name.starts_with(prefix))
            .map(str::to_owned)
            .collect())
    }

    /// Number of brokers.
    ///
    /// # Errors
    /// No answer.
    pub fn brokers(&self) -> Result<usize, KafkaError> {
        Ok(self.metadata()?.brokers().len())
    }

    /// Not for long at first: who is refused need not wait.
    fn metadata(&self) -> Result<Metadata, KafkaError> {
        let client = self.admin()?.inner();
        if let Ok(metadata) = client.fetch_metadata(None, SLICE) {
            return Ok(metadata);
        }
        if let Some(refused) = self.refusal() {
            return Err(refused);
        }
        let answer = client.fetch_metadata(None, TIMEOUT - SLICE - LISTEN);
        answer.map_err(|error| self.unanswered(error))
    }

    /// Makes the topic unless it is there. Without a replication it gets 3 where there are 3 brokers, else as many as there are.
    ///
    /// # Errors
    /// The cluster refused, or nobody answered.
    pub fn ensure_topic(
        &self,
        name: &str,
        partitions: u32,
        replication: Option<i32>,
        config: &[(&str, &str)],
    ) -> Result<TopicInfo, KafkaError> {
        if let Some(info) = self.topic(name)? {
            return Ok(info);
        }
        #[cfg(feature = "simulation")]
        if let Admin::Simulated(_) = &self.admin {
            return Ok(simulated::kafka().create(name, partitions));
        }
        self.create(name, partitions, replication, config, admin_options())?;
        self.wait_until_visible(name, 1)
    }

    /// Whether [`ensure_topic`](Self::ensure_topic) could make a topic that is not there: the broker checks rights, name, replication and settings, and
    /// makes nothing.
    ///
    /// # Errors
    /// It could not, in the broker's words; or nobody answered.
    pub fn may_create(
        &self,
        name: &str,
        partitions: u32,
        replication: Option<i32>,
        config: &[(&str, &str)],
    ) -> Result<(), KafkaError> {
        let options = admin_options().validate_only(true);
        self.create(name, partitions, replication, config, options)
    }

    fn create(
        &self,
        name: &str,
        partitions: u32,
        replication: Option<i32>,
        config: &[(&str, &str)],
        options: AdminOptions,
    ) -> Result<(), KafkaError> {
        let replication = match replication {
            Some(replication) => replication,
            None => i32::try_from(self.brokers()?.clamp(1, 3)).expect("at most 3"),
        };
        let in_sync = if replication >= 3 { "2" } else { "1" };
        let mut topic = NewTopic::new(
            name,
            settings::partition(partitions),
            TopicReplication::Fixed(replication),
        )
        .set("min.insync.replicas", in_sync);
        for (key, value) in config {
            topic = topic.set(key, value);
        }
        let refused = |words: String| KafkaError::CreateTopic {
            topic: name.into(),
            words,
        };
        let results = block_on(self.admin()?.create_topics(&[topic], &options))
            .map_err(|e| refused(e.to_string()))?;
        for result in results {
            match result {
                Ok(_) | Err((_, Code::TopicAlreadyExists)) => {}
                Err((_, code)) => return Err(refused(code.to_string())),
            }
        }
        Ok(())
    }

    /// Gives a topic so many partitions, unless it has that many.
    ///
    /// # Errors
    /// The cluster refused, or nobody answered.
    pub fn raise_partitions(&self, name: &str, partitions: u32) -> Result<(), KafkaError> {
        #[cfg(feature = "simulation")]
        if let Admin::Simulated(_) = &self.admin {
            simulated::kafka().raise(name, partitions);
            return Ok(());
        }
        let has_enough = || {
            let info = self.topic(name)?;
            Ok::<_, KafkaError>(info.is_some_and(|info| info.partitions >= partitions))
        };
        if has_enough()? {
            return Ok(());
        }
        let options = admin_options();
        let wanted = [NewPartitions::new(name, partitions as usize)];
        let results = block_on(self.admin()?.create_partitions(&wanted, &options))
            .map_err(|e| self.unreachable(e))?;
        match results.into_iter().next() {
            // Somebody else may have been quicker.
            Some(Err((_, code))) if !has_enough()? => Err(KafkaError::topic(
                name,
                format!("it could not be given {partitions} partitions: {code}"),
            )),
            _ => self.wait_until_visible(name, partitions).map(drop),
        }
    }

    /// With at least so many partitions.
    fn wait_until_visible(&self, name: &str, partitions: u32) -> Result<TopicInfo, KafkaError> {
        let deadline = Instant::now() + VISIBLE_WITHIN;
        loop {
            if let Some(info) = self.topic(name)?
                && info.partitions >= partitions
            {
                return Ok(info);
            }
            if Instant::now() > deadline {
                return Err(KafkaError::CreateTopic {
                    topic: name.into(),
                    words: "made, but not seen".into(),
                });
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The topic's settings, as the broker reports them. One of several brokers may not have heard of a topic made a moment ago: it is asked again.
    ///
    /// # Errors
    /// No answer.
    pub fn topic_config(&self, name: &str) -> Result<BTreeMap<String, String>, KafkaError> {
        let deadline = Instant::now() + VISIBLE_WITHIN;
        loop {
            // rdkafka 0.39 gives an unknown topic as one without settings.
            let config = self.described_config(name)?;
            if !config.is_empty() {
                return Ok(config);
            }
            if Instant::now() > deadline {
                return Err(KafkaError::topic(
                    name,
                    "the broker does not tell its settings",
                ));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn described_config(&self, name: &str) -> Result<BTreeMap<String, String>, KafkaError> {
        let options = AdminOptions::new().request_timeout(Some(TIMEOUT));
        let wanted = [ResourceSpecifier::Topic(name)];
        let described = block_on(self.admin()?.describe_configs(&wanted, &options))
            .map_err(|e| self.unreachable(e))?;
        let mut config = BTreeMap::new();
        for resource in described {
            let resource = resource.map_err(|e| KafkaError::topic(name, e))?;
            for entry in resource.entries {
                config.insert(entry.name, entry.value.unwrap_or_default());
            }
        }
        Ok(config)
    }

    /// The partition's first offset and its end (one past the last).
    ///
    /// # Errors
    /// No answer.
    pub fn offsets(
        &self,
        topic: &str,
        partition: PartitionId,
    ) -> Result<(Offset, Offset), KafkaError> {
        self.offsets_within(topic, partition, TIMEOUT)
    }

    /// As [`offsets`](Self::offsets), for who has to know soon whether there is an answer.
    ///
    /// # Errors
    /// No answer within that time.
    pub fn offsets_within(
        &self,
        topic: &str,
        partition: PartitionId,
        within: Duration,
    ) -> Result<(Offset, Offset), KafkaError> {
        match &self.admin {
            Admin::Native(admin) => settings::watermarks(admin.inner(), topic, partition, within),
            #[cfg(feature = "simulation")]
            Admin::Simulated(client) => {
                let offsets = simulated::kafka().offsets(client, topic, partition);
                offsets.ok_or_else(|| simulated::silence(topic))
            }
        }
    }

    /// A group's committed positions (the next offset to read), per partition of the topic.
    ///
    /// # Errors
    /// No answer, or no such topic.
    pub fn committed(
        &self,
        group: &str,
        topic: &str,
    ) -> Result<Vec<(PartitionId, Option<Offset>)>, KafkaError> {
        let info = self
            .topic(topic)?
            .ok_or_else(|| KafkaError::topic(topic, "no such topic"))?;
        let partitions: Vec<_> = (0..info.partitions).collect();
        let positions = Positions::open(&self.settings, group, topic)?;
        let committed: BTreeMap<_, _> = positions.committed(&partitions)?.into_iter().collect();
        let with_its_position = |p| (p, committed.get(&p).copied());
        Ok(partitions.into_iter().map(with_its_position).collect())
    }

    /// No answer came: because the broker let us not in, or because there is none.
    fn unreachable(&self, error: impl ToString) -> KafkaError {
        self.refusal().unwrap_or_else(|| self.unanswered(error))
    }

    fn unanswered(&self, error: impl ToString) -> KafkaError {
        KafkaError::Unreachable {
            bootstrap: self.settings.bootstrap.clone(),
            words: error.to_string(),
        }
    }

    /// Why the broker lets us not in, if it does not. Asked with a client that hands on what librdkafka logs, which one for administration does not.
    fn refusal(&self) -> Option<KafkaError> {
        let heard = Heard::default();
        let listening = Listening(heard.clone());
        let asking: BaseConsumer<Listening> = create(&self.settings.client(), listening).ok()?;
        let deadline = Instant::now() + LISTEN;
        while Instant::now() < deadline {
            if asking.fetch_metadata(None, MOMENT).is_ok() {
                return None;
            }
            let _ = asking.poll(MOMENT);
            if heard.lock().is_some() {
                break;
            }
        }
        let words = heard.lock().take()?;
        Some(KafkaError::Refused {
            bootstrap: self.settings.bootstrap.clone(),
            words: refusal::reason(&words).into(),
            advice: refusal::advice(&words)?,
        })
    }
}

/// librdkafka asks the broker that it was told to take for the controller last, waits for that one even if it is dead, and looks for another each ten
/// seconds. So it is waited for in steps, and anybody's word about the cluster, which names a broker that lives, comes between them.
fn patiently_described(
    client: &Client<Quiet>,
    name: &str,
    asked: Asked,
) -> Result<Described, Silence> {
    let deadline = Instant::now() + TIMEOUT;
    let mut within = DESCRIBED_WITHIN;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let described = describe(client.native_ptr(), name, within.min(left), asked);
        if !matches!(described, Err(Silence::TimedOut(_))) || within >= left {
            return described;
        }
        // Its answer is not needed, only heard.
        let _ = client.fetch_metadata(None, within);
        within *= 2;
    }
}

/// What a broker said that let us not in.
type Heard = Arc<Mutex<Option<String>>>;

/// Remembers it: the question that waits for an answer hears of a time-out only.
struct Listening(Heard);

impl ClientContext for Listening {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, words: &str) {
        if refusal::advice(words).is_some() {
            *self.0.lock() = Some(words.into());
        }
        Quiet.log(level, facility, words);
    }
    fn error(&self, error: rdkafka::error::KafkaError, reason: &str) {
        Quiet.error(error, reason);
    }
}

impl ConsumerContext for Listening {}

fn admin_options() -> AdminOptions {
    AdminOptions::new()
        .operation_timeout(Some(TIMEOUT))
        .request_timeout(Some(TIMEOUT))
}
