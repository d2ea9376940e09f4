//! Where an event is now: asked of the registry, then of the dispatchers; what the log says of it is read from Kafka. For `rtf lookup` and
//! for the page.

use crate::foreign_id::id_of;
use crate::registry::replica::{Replica, at, within};
use crate::{grpc_tls, options, parked};
use anyhow::{Context, bail};
use async_trait::async_trait;
use futures::future::join_all;
use rtf_config::Config;
use rtf_dispatcher::{DispatcherHandle, Parked, WaitingEvent};
use rtf_json::Extractor;
use rtf_kafka::{Cluster, Isolation, Polled, Record, Settings, Start, Tail};
use rtf_proto::client::RegistryClient;
use rtf_proto::record::{Body, Content, decode};
use rtf_proto::{
    EventId, Known, LookupItem, Offset, PartitionId, Registry, Resolved, Source, header, naming,
    pb, row,
};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};

const READ_WITHIN: Duration = Duration::from_secs(10);
/// Parked events are not indexed by id: they are read, some hundred thousand a second.
const PARKED_WITHIN: Duration = Duration::from_secs(8);

/// Who may have an event waiting in memory.
pub enum Dispatchers {
    /// The one in this process.
    Here(DispatcherHandle),
    /// Others, over gRPC.
    There(Vec<Replica>),
}

/// Finds events.
pub struct Whereabouts {
    config: Config,
    settings: Settings,
    registry: Arc<dyn Registry>,
    dispatchers: Dispatchers,
}

impl Whereabouts {
    /// Asks these.
    pub fn new(
        config: Config,
        settings: Settings,
        registry: Arc<dyn Registry>,
        dispatchers: Dispatchers,
    ) -> Self {
        Self {
            config,
            settings,
            registry,
            dispatchers,
        }
    }

    /// Asks whoever the configuration names.
    ///
    /// # Errors
    /// An address that is none.
    pub fn remote(config: &Config, settings: &Settings) -> anyhow::Result<Self> {
        let endpoints = grpc_tls::endpoints(config, &config.registries());
        let registry = RegistryClient::new(endpoints.context("[cluster].registries")?);
        let dispatchers = at(config, &[], config.dispatchers())?;
        Ok(Self::new(
            config.clone(),
            settings.clone(),
            Arc::new(registry),
            Dispatchers::There(dispatchers),
        ))
    }

    /// What is known of an id, or of the event at `topic/partition/offset` of the foreign topic: `{"id":…,"state":…,"resolved":bool}` and whatever
    /// follows from the state, see [`rtf_web::LookupSource`].
    ///
    /// # Errors
    /// The registry or Kafka does not answer.
    pub async fn find(&self, id: &str) -> anyhow::Result<Value> {
        let (config, settings, asked) = (self.config.clone(), self.settings.clone(), id.to_owned());
        let source =
            tokio::task::spawn_blocking(move || source(&config, &settings, &asked)).await??;
        let wanted = match &source {
            Some(source) => id_at(&self.config, &self.settings, source.clone()).await?,
            None => EventId::from(id),
        };
        let known = self.known(wanted.clone(), source).await?;
        let mut found = match known {
            Some(Known::Resolved(resolved)) => self.resolved(resolved).await?,
            Some(Known::TooOld) => json!({ "state": "forgotten", "resolved": true }),
            None => self.unresolved(&wanted).await,
        };
        found["id"] = wanted.to_string().into();
        Ok(found)
    }

    async fn known(&self, id: EventId, source: Option<Source>) -> anyhow::Result<Option<Known>> {
        let source = source.unwrap_or_else(|| nowhere(&self.config));
        let asking = self.registry.lookup(vec![LookupItem { id, source }]);
        let found = tokio::time::timeout(options::ANSWER_WITHIN, asking)
            .await
            .context("the registry did not answer in time")??;
        Ok(found.into_iter().next().flatten())
    }

    async fn resolved(&self, resolved: Resolved) -> anyhow::Result<Value> {
        let topic = naming::log_topic(&self.config.join.name);
        let settings = self.settings.clone();
        let reading = tokio::task::spawn_blocking(move || read(&settings, &topic, resolved));
        // Retention, or the embedded broker's small memory, may have taken the record; how the event ended is known all the same.
        let unread = |error| json!({ "note": format!("its record cannot be read: {error:#}") });
        let mut found = reading.await?.unwrap_or_else(unread);
        let outcome = resolved.outcome;
        // Without its reason, which stands beside it.
        let state = outcome.as_str();
        found["state"] = state.into();
        found["resolved"] = true.into();
        found["outcome"] = state.into();
        if let rtf_proto::Outcome::Unjoinable(reason) = outcome {
            found["reason"] = reason.as_str().into();
        }
        found["partition"] = resolved.partition.into();
        found["offset"] = resolved.offset.into();
        Ok(found)
    }

    async fn unresolved(&self, id: &EventId) -> Value {
        let waiting = match &self.dispatchers {
            Dispatchers::Here(dispatcher) => dispatcher.find(id).map(of_handle),
            Dispatchers::There(dispatchers) => of_replicas(dispatchers, id).await,
        };
        let mut found = match waiting {
            Some(waiting) => waiting,
            None => self.parked(id).await,
        };
        found["resolved"] = false.into();
        found
    }

    /// Looks for it among what is parked; where that cannot be read in time, how many are parked is all there is to say.
    async fn parked(&self, id: &EventId) -> Value {
        let (config, settings, id) = (self.config.clone(), self.settings.clone(), id.clone());
        let looking = tokio::task::spawn_blocking(move || find_parked(&config, &settings, &id));
        match looking.await.unwrap_or_else(|error| Err(error.into())) {
            Ok(Looked::Found(found)) => found,
            Ok(Looked::Absent) => json!({ "state": "unresolved" }),
            Ok(Looked::Unfinished(read)) => json!({
                "state": "unresolved", "parked": self.parked_by_topic().await,
                "note": format!("It is not among the first {read} parked events; there was no time to read the others."),
            }),
            Err(error) => json!({
                "state": "unresolved", "parked": self.parked_by_topic().await,
                "note": format!("The retry topics cannot be read: {error:#}"),
            }),
        }
    }

    /// How many are parked, by topic: one that is looked for may be among them.
    async fn parked_by_topic(&self) -> Value {
        let parked: Vec<(String, u64)> = match &self.dispatchers {
            Dispatchers::Here(dispatcher) => {
                let parked = dispatcher.status().parked.into_iter();
                parked.map(|tier| (tier.topic, tier.records)).collect()
            }
            Dispatchers::There(dispatchers) => parked_of(dispatchers).await,
        };
        let mut sums = serde_json::Map::new();
        for (topic, records) in parked {
            let known = sums.get(&topic).and_then(Value::as_u64).unwrap_or_default();
            sums.insert(topic, (known + records).into());
        }
        sums.into()
    }
}

#[async_trait]
impl rtf_web::LookupSource for Whereabouts {
    async fn lookup(&self, id: &str) -> Result<Value, String> {
        self.find(id).await.map_err(|error| format!("{error:#}"))
    }
}

/// What a look into the retry topics gave.
enum Looked {
    Found(Value),
    Absent,
    /// So many were read, and there are more.
    Unfinished(u64),
}

fn find_parked(config: &Config, settings: &Settings, id: &EventId) -> anyhow::Result<Looked> {
    let cluster = Cluster::connect(settings)?;
    let positions = parked::positions(&cluster, config)?;
    let deadline = Instant::now() + PARKED_WITHIN;
    let (mut looked, mut read) = (Looked::Absent, 0);
    parked::read(&cluster, settings, &positions, |topic, record| {
        read += 1;
        let headers = record.headers();
        if header::text(&headers, header::ID)
            .is_some_and(|parked| parked.as_bytes() == id.as_bytes())
            && let Some((parked, _)) = Parked::read(record.original())
        {
            looked = Looked::Found(of_parked(parked, topic));
            return Ok(false);
        }
        let has_time = Instant::now() < deadline;
        if !has_time {
            looked = Looked::Unfinished(read);
        }
        Ok(has_time)
    })?;
    Ok(looked)
}

/// As of one that waits in memory, but where.
fn of_parked(parked: Parked, topic: &str) -> Value {
    let mut found = of_handle(WaitingEvent {
        key: Some(parked.key),
        attempts: parked.attempts,
        first_seen_ms: parked.first_seen_ms,
        due_ms: parked.due_ms,
        source: parked.source,
        tier: Some(topic.to_owned()),
    });
    found["state"] = "parked".into();
    found
}

fn of_handle(waiting: WaitingEvent) -> Value {
    let source = waiting.source;
    json!({
        "state": "waiting", "attempts": waiting.attempts, "first_seen_ts": waiting.first_seen_ms, "due_ts": waiting.due_ms,
        "key": waiting.key.map(|key| key.to_string()), "tier": waiting.tier,
        "source": { "topic": source.topic.to_string(), "partition": source.partition, "offset": source.offset },
    })
}

/// One that does not answer has nothing waiting as far as is known.
async fn of_replicas(dispatchers: &[Replica], id: &EventId) -> Option<Value> {
    let ask = |dispatcher: &Replica| {
        let mut admin = dispatcher.admin();
        let id = id.as_bytes().to_vec().into();
        async move {
            let question = pb::AdminLookupRequest { id };
            let answer = within(options::ANSWER_WITHIN, admin.lookup(question)).await;
            answer.ok()?.waiting
        }
    };
    let answers = join_all(dispatchers.iter().map(ask)).await;
    let waiting = answers.into_iter().flatten().next()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Some(json!({
        "state": "waiting", "attempts": waiting.attempts, "first_seen_ts": waiting.first_seen_ms, "due_ts": waiting.due_ms,
        "key": Some(text(&waiting.key)).filter(|key| !key.is_empty()), "tier": Some(waiting.tier).filter(|tier| !tier.is_empty()),
        "source": { "topic": waiting.topic, "partition": waiting.partition, "offset": waiting.offset },
    }))
}

async fn parked_of(dispatchers: &[Replica]) -> Vec<(String, u64)> {
    let ask = |dispatcher: &Replica| {
        let mut admin = dispatcher.admin();
        async move { within(options::ANSWER_WITHIN, admin.status(pb::StatusRequest {})).await }
    };
    let answers = join_all(dispatchers.iter().map(ask)).await;
    let statuses = answers
        .into_iter()
        .filter_map(|answer| answer.ok()?.dispatcher);
    let tiers = statuses.flat_map(|status| status.parked);
    tiers.map(|tier| (tier.topic, tier.records)).collect()
}

/// `topic/partition/offset` of the foreign topic names whatever event stands there. Blocking.
fn source(config: &Config, settings: &Settings, id: &str) -> anyhow::Result<Option<Source>> {
    let topic = &config.join.foreign.topic;
    let Some((partition, offset)) = id
        .strip_prefix(topic)
        .and_then(|rest| rest.strip_prefix('/'))
        .and_then(|rest| rest.split_once('/'))
    else {
        return Ok(None);
    };
    let (Ok(partition), Ok(offset)) = (partition.parse(), offset.parse()) else {
        return Ok(None);
    };
    let info = Cluster::connect(settings)?
        .topic(topic)?
        .with_context(|| format!("topic `{topic}` does not exist"))?;
    Ok(Some(Source {
        topic: topic.as_str().into(),
        topic_id: info.id,
        partition,
        offset,
    }))
}

/// The id of the foreign record at this place.
async fn id_at(config: &Config, settings: &Settings, source: Source) -> anyhow::Result<EventId> {
    let extractor = Extractor::new(options::foreign_fields(config))?;
    let (settings, isolation) = (settings.clone(), options::isolation(config));
    let reading = move || {
        let (partition, offset) = (source.partition, source.offset);
        read_at(
            &settings,
            &source.topic,
            partition,
            offset,
            isolation,
            |record| Ok(id_of(&extractor, record, &source)),
        )
    };
    tokio::task::spawn_blocking(reading).await?
}

/// What has no place is asked for by its id alone.
fn nowhere(config: &Config) -> Source {
    Source {
        topic: config.join.foreign.topic.as_str().into(),
        topic_id: Default::default(),
        partition: 0,
        offset: 0,
    }
}

/// Reads the winner's record. Blocking.
fn read(settings: &Settings, topic: &str, resolved: Resolved) -> anyhow::Result<Value> {
    let (partition, offset) = (resolved.partition, resolved.offset);
    read_at(
        settings,
        topic,
        partition,
        offset,
        Isolation::ReadUncommitted,
        |record| detail(record, partition, offset),
    )
}

/// Reads one record of a topic. Blocking.
fn read_at<T>(
    settings: &Settings,
    topic: &str,
    partition: PartitionId,
    offset: Offset,
    isolation: Isolation,
    of: impl FnOnce(&Record<'_>) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let tail = Tail::open(
        settings,
        topic,
        &[(partition, Start::Offset(offset))],
        isolation,
    )?;
    let deadline = Instant::now() + READ_WITHIN;
    while Instant::now() < deadline {
        match tail.poll(Duration::from_millis(100)) {
            Polled::Record(record) if record.offset() == offset => return of(&record),
            Polled::Record(_) => {
                bail!("topic `{topic}` has no offset {offset} in partition {partition}")
            }
            Polled::Failed(error) => return Err(error.into()),
            Polled::EndOfPartition(_) | Polled::Idle => {}
        }
    }
    bail!(
        "topic `{topic}` partition {partition} offset {offset} could not be read within {READ_WITHIN:?}"
    )
}

fn detail(record: &Record<'_>, partition: PartitionId, offset: Offset) -> anyhow::Result<Value> {
    let decoded = decode(record.key(), record.value())?;
    let Content::Event(event) = decoded.content else {
        bail!("offset {offset} holds no event")
    };
    let body = Body::decode(event.outcome, bytes::Bytes::copy_from_slice(event.body))
        .context("an unreadable body")?;
    let row = body
        .row()
        .map(|open| row::close(open, record.timestamp_ms(), offset, partition));
    let row: Value = row
        .map(|row| serde_json::from_slice(&row))
        .transpose()?
        .unwrap_or_default();
    let (topic_id, source_partition, source_offset) = event.source;
    let mut detail = json!({
        "source": { "topic_id": topic_id.to_string(), "partition": source_partition, "offset": source_offset },
        "resolved_ts": record.timestamp_ms(), "row": row,
    });
    match body {
        Body::Joined { .. } => {}
        Body::Unjoinable {
            attempts,
            first_seen_ms,
            ..
        } => {
            detail["attempts"] = attempts.into();
            detail["first_seen_ts"] = first_seen_ms.into();
        }
        Body::Malformed { words, original } => {
            detail["words"] = words.into();
            detail["original"] = original
                .value
                .map(|value| String::from_utf8_lossy(&value).into_owned())
                .into();
        }
    }
    Ok(detail)
}
