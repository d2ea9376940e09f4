//! `rtf lookup ID`: how an event was resolved, with its row.

use crate::foreign_id::id_of;
use crate::options;
use anyhow::{Context, bail};
use rtf_config::Config;
use rtf_json::Extractor;
use rtf_kafka::{Cluster, Isolation, Polled, Record, Settings, Start, Tail};
use rtf_proto::client::{Endpoints, RegistryClient};
use rtf_proto::record::{Body, Content, decode};
use rtf_proto::{
    EventId, Known, LookupItem, Offset, PartitionId, Registry, Resolved, Source, naming, row,
};
use serde_json::{Value, json};
use std::process::ExitCode;
use std::time::{Duration, Instant};

const READ_WITHIN: Duration = Duration::from_secs(10);

/// Prints what is known of an id. Exit code 1 when nothing is.
///
/// # Errors
/// The registry or Kafka does not answer.
pub async fn run(config: &Config, id: &str, json: bool) -> anyhow::Result<ExitCode> {
    let settings = options::kafka(config);
    let source = source(config, &settings, id)?;
    let wanted = match &source {
        Some(source) => id_at(config, &settings, source.clone()).await?,
        None => EventId::from(id),
    };
    let item = LookupItem {
        id: wanted.clone(),
        source: source.unwrap_or_else(|| nowhere(config)),
    };
    let found = tokio::time::timeout(options::ANSWER_WITHIN, registry(config)?.lookup(vec![item]))
        .await
        .context("the registry did not answer in time")??;
    let Some(resolved) = found.into_iter().next().flatten().and_then(Known::resolved) else {
        report_unknown(&wanted, json);
        return Ok(ExitCode::FAILURE);
    };
    let topic = naming::log_topic(&config.join.name);
    let detail = tokio::task::spawn_blocking(move || read(&settings, &topic, resolved)).await??;
    report(&wanted, resolved, &detail, json);
    Ok(ExitCode::SUCCESS)
}

/// The registry, over gRPC.
fn registry(config: &Config) -> anyhow::Result<RegistryClient> {
    let listed = &config.cluster.registries;
    let urls = if listed.is_empty() {
        vec![format!("http://{}", config.registry.listen)]
    } else {
        listed.clone()
    };
    Ok(RegistryClient::new(Endpoints::new(&urls)?))
}

/// `topic/partition/offset` of the foreign topic names whatever event stands there.
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

fn report_unknown(id: &EventId, json: bool) {
    if json {
        println!("{}", json!({ "id": id.to_string(), "resolved": false }));
    } else {
        println!("{id}: not resolved. It was never read, or it waits for its partner.");
    }
}

fn report(id: &EventId, resolved: Resolved, detail: &Value, json: bool) {
    let Resolved {
        partition,
        offset,
        outcome,
    } = resolved;
    if json {
        let mut all = json!({ "id": id.to_string(), "resolved": true, "outcome": outcome.as_str(), "partition": partition, "offset": offset });
        if let (Value::Object(all), Value::Object(detail)) = (&mut all, detail) {
            all.extend(detail.clone());
        }
        println!("{all}");
        return;
    }
    println!("{id}: {outcome}, at offset {offset} of partition {partition} of the join log");
    if let Some(words) = detail["words"].as_str() {
        println!("  {words}");
    }
    if !detail["row"].is_null() {
        println!("{:#}", detail["row"]);
    }
}
