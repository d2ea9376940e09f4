//! From the configuration to what each role must be told. The roles know no configuration file.

use crate::cli::LogFormat;
use crate::manual;
use crate::roles::Role;
use rtf_config::{Config, Isolation, Kafka, Layout, Order, Policy, TopicChecks, Unmatched};
use rtf_json::{Fields, Folding};
use rtf_kafka::Settings;
use rtf_proto::{MAX_ID_BYTES, naming};
use rtf_publisher::Content;
use std::time::Duration;

/// Keys a joiner remembers that were asked for in vain.
const WANTED_KEYS: usize = 1_000_000;
/// Batches a joiner works on at once.
const JOIN_BATCHES: usize = 256;

/// Starts logging.
pub fn init_logging(format: LogFormat, filter: Option<&str>) {
    let format = match format {
        LogFormat::Pretty => rtf_service::logging::Format::Pretty,
        LogFormat::Json => rtf_service::logging::Format::Json,
    };
    rtf_service::logging::init(format, filter);
}

/// How to reach Kafka.
pub fn kafka(config: &Config) -> Settings {
    broker(&config.kafka)
}

/// How to reach the Kafka of this section.
pub fn broker(kafka: &Kafka) -> Settings {
    let properties = kafka.properties.iter();
    Settings {
        bootstrap: kafka.bootstrap.clone(),
        properties: properties
            .map(|(name, value)| (name.clone(), value.reveal().to_owned()))
            .collect(),
        ..Settings::default()
    }
}

/// The dispatcher's consumer group.
pub fn group(config: &Config) -> String {
    match config.dispatcher.group.as_str() {
        "" => naming::dispatcher_group(&config.join.name),
        group => group.into(),
    }
}

/// Which records of transactions are read.
pub fn isolation(config: &Config) -> rtf_kafka::Isolation {
    match config.dispatcher.isolation {
        Isolation::ReadCommitted => rtf_kafka::Isolation::ReadCommitted,
        Isolation::ReadUncommitted => rtf_kafka::Isolation::ReadUncommitted,
    }
}

/// Whether unjoinable events have rows too.
pub fn emits_unmatched(config: &Config) -> bool {
    config.join.wait.unmatched == Unmatched::Emit
}

/// Where a foreign event keeps its id, key and time.
pub fn foreign_fields(config: &Config) -> Fields {
    let foreign = &config.join.foreign;
    let folding = Folding {
        trim: foreign.trim,
        fold_case: foreign.fold_case,
    };
    fields(&foreign.id, &foreign.key, &foreign.time, folding)
}

/// Where a primary event keeps its id, key and time.
pub fn primary_fields(config: &Config) -> Fields {
    let primary = &config.join.primary;
    let folding = Folding {
        trim: primary.trim,
        fold_case: primary.fold_case,
    };
    fields(&primary.id, &primary.key, &primary.time, folding)
}

fn fields(id: &[String], key: &[String], time: &str, folding: Folding) -> Fields {
    Fields {
        id: id.to_vec(),
        key: key.to_vec(),
        time: given(time),
        extra: Vec::new(),
        folding,
        max_id_bytes: MAX_ID_BYTES,
    }
}

/// What the registry must be told.
pub fn registry(config: &Config) -> rtf_registry::Options {
    let registry = &config.registry;
    rtf_registry::Options {
        topic: naming::log_topic(&config.join.name),
        partitions: registry.partitions,
        serves: registry.served(),
        replication: replication(config),
        horizon: registry.horizon.0,
        data: registry.data.clone(),
        skip: registry.skipped().collect(),
        strict: registry.topic_checks == TopicChecks::Strict,
    }
}

/// What the joiner must be told.
pub fn joiner(config: &Config) -> rtf_joiner::Options {
    let primary = &config.join.primary;
    let fields = primary_fields(config);
    rtf_joiner::Options {
        topic: primary.topic.clone(),
        id: fields.id,
        key: fields.key,
        time: fields.time,
        expires: given(&primary.expires),
        folding: fields.folding,
        policy: policy(&config.join.r#match),
        data: Some(config.joiner.data.clone()),
        memory_bytes: usize::try_from(config.joiner.memory.0).unwrap_or(usize::MAX),
        wanted_keys: WANTED_KEYS,
        batches_in_flight: JOIN_BATCHES,
    }
}

/// The joiners among which the primary topic's partitions are spread, if they are.
pub fn joiner_group(config: &Config) -> Option<rtf_joiner::Group> {
    let group = || rtf_joiner::Group {
        name: naming::joiner_group(&config.join.name),
        session_timeout: config.joiner.session_timeout.0,
    };
    (config.joiner.layout == Layout::Partitioned).then(group)
}

fn policy(matching: &rtf_config::Match) -> rtf_joiner::Policy {
    match matching.policy {
        Policy::First => rtf_joiner::Policy::First,
        Policy::Latest => rtf_joiner::Policy::Latest,
        Policy::All => rtf_joiner::Policy::All {
            limit: matching.limit,
        },
        Policy::Best => rtf_joiner::Policy::Best {
            order_by: matching.order_by.clone(),
            direction: match matching.order {
                Order::Asc => rtf_joiner::Direction::Ascending,
                Order::Desc => rtf_joiner::Direction::Descending,
            },
            limit: matching.limit,
        },
    }
}

/// What the dispatcher must be told.
pub fn dispatcher(config: &Config) -> rtf_dispatcher::Options {
    let (foreign, wait, dispatcher) = (&config.join.foreign, &config.join.wait, &config.dispatcher);
    rtf_dispatcher::Options {
        id: foreign.id.clone(),
        time: given(&foreign.time),
        trim: foreign.trim,
        fold_case: foreign.fold_case,
        isolation: isolation(config),
        session_timeout: dispatcher.session_timeout.0,
        instance_id: given(&dispatcher.instance_id),
        wait_max: wait.max.0,
        collect: config.join.r#match.collect.0,
        retry_initial: wait.retry_initial.0,
        retry_max: wait.retry_max.0,
        site: dispatcher.sites().map(|(number, of)| rtf_dispatcher::Site {
            number,
            of,
            claim: dispatcher.claim.0,
        }),
        parking: Some(parking(config)),
        max_events: wait.max_events,
        max_bytes: usize::try_from(wait.max_bytes.0).unwrap_or(usize::MAX),
        batch: dispatcher.batch,
        in_flight: dispatcher.in_flight,
        ..rtf_dispatcher::Options::new(foreign.topic.clone(), group(config), foreign.key.clone())
    }
}

/// The retry topics.
fn parking(config: &Config) -> rtf_dispatcher::Parking {
    let tier = |delay: &rtf_config::Span| rtf_dispatcher::Tier {
        topic: naming::retry_topic(&config.join.name, &delay.to_string()),
        group: naming::retry_group(&config.join.name, &delay.to_string()),
        delay: delay.0,
    };
    rtf_dispatcher::Parking {
        tiers: config.join.wait.tiers.iter().map(tier).collect(),
        after: config.join.wait.park_after.0,
        replication: replication(config),
        // What is not read for so long is forgotten by the log as well.
        retention: rtf_registry::log_retention(config.registry.horizon.0),
    }
}

/// What the publisher must be told.
pub fn publisher(config: &Config) -> rtf_publisher::Options {
    rtf_publisher::Options {
        content: Content::Rows {
            emit_unjoinable: emits_unmatched(config),
        },
        ..rtf_publisher::Options::default()
    }
}

/// What carries dead letters must be told.
pub fn dead_letters(config: &Config) -> rtf_publisher::Options {
    rtf_publisher::Options {
        content: Content::DeadLetters(rtf_publisher::LetterOptions {
            source_topic: config.join.foreign.topic.clone(),
            emit_unjoinable: emits_unmatched(config),
        }),
        ..rtf_publisher::Options::default()
    }
}

/// Where dead letters go.
pub fn dead_letter_topic(config: &Config) -> rtf_publisher::sink::KafkaSinkOptions {
    rtf_publisher::sink::KafkaSinkOptions {
        name: config.join.name.clone(),
        partitions: config.registry.partitions,
        replication: replication(config),
        // Else letters would be written again that the topic has forgotten before the log has.
        retention: (config.publisher.dead_letter_retention.0)
            .max(rtf_registry::log_retention(config.registry.horizon.0)),
        max_record_bytes: rtf_proto::record::MAX_RECORD_BYTES,
    }
}

/// What is traced, and who is told, of a process with these roles.
pub fn traces(config: &Config, roles: &[Role]) -> rtf_traces::Options {
    let traces = &config.telemetry.traces;
    rtf_traces::Options {
        endpoint: traces.endpoint.clone(),
        share: traces.sample,
        pipeline: config.join.name.clone(),
        service: match roles {
            [role] => format!("rtf-{}", role.name()),
            _ => "rtf".into(),
        },
    }
}

/// Replicas of our topics, unless the cluster's size decides.
pub fn replication(config: &Config) -> Option<i32> {
    let replication = config.registry.replication;
    (replication > 0).then_some(i32::from(replication))
}

/// What of the rows gets into Redis.
pub fn redis(config: &Config) -> rtf_publisher::sink::RedisOptions {
    rtf_publisher::sink::RedisOptions {
        name: config.join.name.clone(),
        max_rows: config.redis.max_rows,
        call_timeout: config.redis.timeout.0,
    }
}

/// What the page must be told.
pub fn web(config: &Config) -> rtf_web::Options {
    let default = rtf_web::Options::default();
    let join = &config.join;
    rtf_web::Options {
        title: given(&config.web.title).unwrap_or(default.title),
        subtitle: given(&config.web.subtitle).unwrap_or_else(|| {
            format!(
                "{} joined with {}, exactly once, as it happens.",
                join.foreign.topic, join.primary.topic
            )
        }),
        columns: config.web.columns.iter().map(column).collect(),
        map: map(&config.web.map),
        manual: manual::CHAPTERS.to_vec(),
        guard: guard(&config.web.auth),
    }
}

fn guard(auth: &rtf_config::WebAuth) -> rtf_web::Guard {
    let password = auth.password.reveal().to_owned();
    rtf_web::Guard {
        basic: given(&auth.user).map(|user| (user, password)),
        trusted_header: given(&auth.trusted_header),
    }
}

fn map(map: &rtf_config::WebMap) -> Option<rtf_web::Map> {
    Some(rtf_web::Map {
        from: spot(&map.from)?,
        to: spot(&map.to),
        label: given(&map.label),
        places: places(&map.places),
    })
}

/// One pointer is to a code, two are to degrees; anything else is none.
fn spot(pointers: &[String]) -> Option<rtf_web::Spot> {
    match pointers {
        [code] => Some(rtf_web::Spot::Code(code.clone())),
        [latitude, longitude] => Some(rtf_web::Spot::Degrees(latitude.clone(), longitude.clone())),
        _ => None,
    }
}

/// Those that are configured, else the airports of the demonstration.
fn places(configured: &[rtf_config::Place]) -> Vec<rtf_web::Place> {
    let place = |place: &rtf_config::Place| rtf_web::Place {
        code: place.code.clone(),
        name: place.name.clone(),
        latitude: place.latitude,
        longitude: place.longitude,
    };
    let airport = |airport: &rtf_synth::Airport| rtf_web::Place {
        code: airport.code.into(),
        name: airport.city.into(),
        latitude: airport.latitude,
        longitude: airport.longitude,
    };
    if configured.is_empty() {
        rtf_synth::AIRPORTS.iter().map(airport).collect()
    } else {
        configured.iter().map(place).collect()
    }
}

fn column(column: &rtf_config::Column) -> rtf_web::Column {
    use rtf_web::{Align, Format};
    rtf_web::Column {
        title: column.title.clone(),
        value: column.value.clone(),
        details: column.details.clone(),
        format: match column.format.as_deref() {
            Some("money") => Format::Money,
            Some("time") => Format::Time,
            Some("airport") => Format::Airport,
            Some("link") => Format::Link,
            _ => Format::Text,
        },
        align: column.align.as_deref().map(|align| {
            if align == "end" {
                Align::End
            } else {
                Align::Start
            }
        }),
        width: column.width.clone(),
        phone_hidden: column.phone == Some(false),
    }
}

/// An empty text says that there is none.
fn given(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// How long an RPC of the command line may take.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(5);
