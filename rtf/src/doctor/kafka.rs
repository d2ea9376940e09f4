//! Whether Kafka is there, has the topics, and allows what is done with them.

use super::finding::Finding;
use super::{Asking, because, settings};
use crate::{human, options};
use rtf_config::Config;
use rtf_kafka::{Cluster, KafkaError, Operation, Rights, TopicInfo, Transactor, TransactorOptions};
use rtf_proto::naming;
use rtf_registry::{RegistryFailure, check_log, log_retention};
use std::collections::BTreeMap;
use std::time::Duration;

const GRANT: &str = "grant it with kafka-acls.sh, or correct the credentials in [kafka.properties]";
/// With fewer there are not three copies of the log.
const BROKERS: usize = 3;

/// The first question.
///
/// # Errors
/// Nobody answers, as the one finding there is.
pub fn reach(config: Config) -> Result<(Asking, Vec<Finding>), Finding> {
    let settings = settings(&config);
    let bootstrap = &config.kafka.bootstrap;
    let unreached = |error: KafkaError| match error {
        KafkaError::Refused {
            bootstrap,
            words,
            advice,
        } => Finding::fail(
            "Kafka",
            format!("{bootstrap} refuses this client: {words}"),
            advice,
        ),
        KafkaError::Settings(_) => {
            Finding::fail("Kafka", because(error), "correct [kafka.properties]")
        }
        error => {
            let advice = "start it, or correct [kafka].bootstrap, or set security.protocol in [kafka.properties] if it wants TLS; the checks of Kafka are left out";
            Finding::fail("Kafka", because(error), advice)
        }
    };
    let cluster = Cluster::connect(&settings).map_err(unreached)?;
    let brokers = cluster.brokers().map_err(unreached)?;
    let answers = match brokers {
        1 => format!("1 broker answers at {bootstrap}"),
        brokers => format!("{brokers} brokers answer at {bootstrap}"),
    };
    let finding = if brokers < BROKERS {
        let words = format!("{answers}: the join log has no three copies");
        Finding::warn(
            "Kafka",
            words,
            "fine for trying out; exactly once rests on Kafka keeping what it acknowledged, which takes three brokers",
        )
    } else {
        Finding::ok("Kafka", answers)
    };
    let asking = Asking {
        config,
        settings,
        cluster,
    };
    Ok((asking, vec![finding]))
}

/// Both topics that are joined.
pub fn topics(asking: &Asking) -> Vec<Finding> {
    let join = &asking.config.join;
    let mut findings = Vec::new();
    for (side, topic) in [
        ("foreign", &join.foreign.topic),
        ("primary", &join.primary.topic),
    ] {
        let subject = format!("{side} topic");
        match source(asking, topic) {
            Ok(words) => {
                findings.push(Finding::ok(&subject, words));
                findings.extend(kept(asking, side, topic));
            }
            Err((words, advice)) => findings.push(Finding::fail(&subject, words, advice)),
        }
    }
    findings
}

type Trouble = (String, String);

fn source(asking: &Asking, topic: &str) -> Result<String, Trouble> {
    let Some(info) = usable(asking, topic, &[Operation::Read])? else {
        let advice = "make it, or correct the name; `rtf init` lists the topics there are";
        return Err((format!("there is no topic {topic}"), advice.into()));
    };
    let mut records = 0;
    for partition in 0..info.partitions {
        let offsets = asking.cluster.offsets(topic, partition);
        let (first, end) = offsets.map_err(refused)?;
        records += end - first;
    }
    Ok(format!(
        "{topic}: {} partitions, {} records, may be read",
        info.partitions,
        human::count(records)
    ))
}

/// Whether all of these are allowed, as far as the broker says.
fn demand(topic: &str, rights: Option<&Rights>, wanted: &[Operation]) -> Result<(), Trouble> {
    let Some(rights) = rights else {
        return Ok(());
    };
    let missing: Vec<String> = (wanted.iter())
        .filter(|operation| !rights.contains(operation))
        .map(ToString::to_string)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let words = format!("{topic}: the right to {} is missing", missing.join(" and "));
    Err((words, GRANT.into()))
}

/// Whether records are kept as long as they are waited for. What cannot be asked is no trouble: nothing depends on it.
fn kept(asking: &Asking, side: &str, topic: &str) -> Option<Finding> {
    let settings = asking.cluster.topic_config(topic).ok()?;
    let wait = asking.config.join.wait.max;
    let subject = format!("{side} topic");
    let policy = settings.get("cleanup.policy").map_or("", String::as_str);
    if side == "foreign" && policy.contains("compact") {
        let words = format!("{topic} is compacted (cleanup.policy={policy})");
        return Some(Finding::warn(
            subject,
            words,
            "Kafka removes events of it that a later one with the same message key follows, read or not: use cleanup.policy=delete",
        ));
    }
    let retention: i64 = settings.get("retention.ms")?.parse().ok()?;
    let is_short = retention >= 0
        && policy.contains("delete")
        && u128::from(retention.unsigned_abs()) < wait.0.as_millis();
    is_short.then(|| {
        let words = format!("{topic} keeps records for {}, events wait for up to {wait}", human::span(retention));
        let advice = if side == "foreign" {
            "a dispatcher that is away for longer loses events: raise retention.ms"
        } else {
            "a joiner that builds its store anew lacks primaries that were sent before: raise retention.ms, or shorten [join.wait].max"
        };
        Finding::warn(subject, words, advice)
    })
}

/// The join log, and the other topics we make.
pub fn ours(asking: &Asking) -> Vec<Finding> {
    let mut findings = vec![log(asking)];
    findings.push(others(asking));
    findings
}

fn log(asking: &Asking) -> Finding {
    let Asking {
        config, cluster, ..
    } = asking;
    let options = options::registry(config);
    let name = &options.topic;
    let keeps = log_retention(config.registry.horizon.0);
    match check_log(&options, cluster) {
        Ok(None) => Finding::ok(
            "join log",
            format!(
                "{name} is not there yet; the registry may make it, with {} partitions",
                options.partitions
            ),
        ),
        Ok(Some(info)) => {
            if let Err((words, advice)) = usable(asking, name, &[Operation::Read, Operation::Write])
            {
                return Finding::fail("join log", words, advice);
            }
            let words = format!(
                "{name}: {} partitions, settings as they must be, kept for {} or more (the horizon is {})",
                info.partitions,
                duration(keeps),
                config.registry.horizon
            );
            if info.partitions < options.partitions {
                let advice = format!(
                    "set [registry].partitions = {}; more come with `rtf registry split`",
                    info.partitions
                );
                return Finding::fail("join log", words, advice);
            }
            Finding::ok("join log", words)
        }
        Err(RegistryFailure::Kafka(error)) => Finding::fail("join log", because(error), GRANT),
        Err(error) => Finding::fail(
            "join log",
            because(error),
            "nothing is registered before that is corrected",
        ),
    }
}

/// A topic with which all of this may be done; `None` if it is not there.
fn usable(
    asking: &Asking,
    topic: &str,
    wanted: &[Operation],
) -> Result<Option<TopicInfo>, Trouble> {
    let known = asking.cluster.topic_and_rights(topic).map_err(refused)?;
    let Some((info, rights)) = known else {
        return Ok(None);
    };
    demand(topic, rights.as_ref(), wanted)?;
    Ok(Some(info))
}

fn refused(error: KafkaError) -> Trouble {
    (because(error), GRANT.to_owned())
}

/// Retry topics and dead letters: there and usable, or to be made.
fn others(asking: &Asking) -> Finding {
    let Asking {
        config, cluster, ..
    } = asking;
    let name = &config.join.name;
    let tiers = config.join.wait.tiers.iter();
    let mut topics: Vec<String> = tiers
        .map(|tier| naming::retry_topic(name, &tier.to_string()))
        .collect();
    topics.push(naming::dead_letter_topic(name));
    let (mut there, mut short) = (0, Vec::new());
    for topic in &topics {
        match usable(asking, topic, &[Operation::Read, Operation::Write]) {
            Ok(Some(_)) => there += 1,
            Ok(None) => {
                let may = cluster.may_create(topic, 1, options::replication(config), &[]);
                if let Err(error) = may {
                    return Finding::fail("our topics", because(error), GRANT);
                }
                continue;
            }
            Err((words, advice)) => return Finding::fail("our topics", words, advice),
        }
        if let Ok(settings) = cluster.topic_config(topic)
            && is_short(&settings, log_retention(config.registry.horizon.0))
        {
            short.push(topic.as_str());
        }
    }
    if !short.is_empty() {
        let keeps = log_retention(config.registry.horizon.0).as_millis();
        let words = format!("{} forget sooner than the join log does", short.join(", "));
        return Finding::warn(
            "our topics",
            words,
            format!("set retention.ms={keeps} with kafka-configs.sh --alter"),
        );
    }
    let words = match topics.len() - there {
        0 => format!("{} are there, may be read and written", topics.join(", ")),
        missing => format!(
            "{missing} of {} are not there yet, and may be made",
            topics.join(", ")
        ),
    };
    Finding::ok("our topics", words)
}

fn is_short(settings: &BTreeMap<String, String>, needed: Duration) -> bool {
    let retention: Option<i64> = settings.get("retention.ms").and_then(|ms| ms.parse().ok());
    retention.is_some_and(|ms| ms >= 0 && u128::from(ms.unsigned_abs()) < needed.as_millis())
}

/// The group, and what dead letters are written under.
pub fn rights(asking: &Asking) -> Vec<Finding> {
    vec![group(asking), transactions(asking)]
}

fn group(asking: &Asking) -> Finding {
    let Asking {
        config, cluster, ..
    } = asking;
    let group = options::group(config);
    match cluster.committed(&group, &config.join.foreign.topic) {
        Err(error) => Finding::fail("group", format!("{group}: {}", because(error)), GRANT),
        Ok(positions) => {
            let committed = positions
                .iter()
                .filter(|(_, position)| position.is_some())
                .count();
            let words = match committed {
                0 => format!("{group} has read nothing yet"),
                some => format!(
                    "{group} has positions in {some} of {} partitions",
                    positions.len()
                ),
            };
            Finding::ok("group", words)
        }
    }
}

/// Asked with an id of its own under the same prefix: opening a real one would stop the publisher that writes under it.
fn transactions(asking: &Asking) -> Finding {
    let name = &asking.config.join.name;
    let dead = naming::dead_letter_topic(name);
    let id = format!("{dead}.doctor");
    let options = TransactorOptions {
        topic: dead.clone(),
        transactional_id: id.clone(),
        max_record_bytes: rtf_proto::record::MAX_RECORD_BYTES,
    };
    match Transactor::open(&asking.settings, &options) {
        Ok(_) => Finding::ok(
            "transactions",
            format!("{dead}.* may write in transactions, as dead letters are"),
        ),
        Err(error) => Finding::warn(
            "transactions",
            format!("{id}: {}", because(error)),
            format!(
                "dead letters are written under the transactional ids {dead}.0, {dead}.1, …: grant Write and Describe on that prefix (only a name beside them can be asked without stopping a publisher)"
            ),
        ),
    }
}

fn duration(time: Duration) -> String {
    human::span(i64::try_from(time.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_rights_are_named() {
        let rights = Rights::from([Operation::Describe, Operation::Read]);
        assert_eq!(demand("t", Some(&rights), &[Operation::Read]), Ok(()));
        assert_eq!(demand("t", None, &[Operation::Write]), Ok(()));
        let (words, _) =
            demand("t", Some(&rights), &[Operation::Read, Operation::Write]).expect_err("no");
        assert_eq!(words, "t: the right to Write is missing");
    }

    #[test]
    fn retention_is_compared() {
        let settings = |ms: &str| BTreeMap::from([("retention.ms".to_owned(), ms.to_owned())]);
        let needed = Duration::from_secs(1);
        assert!(is_short(&settings("999"), needed) && !is_short(&settings("1000"), needed));
        assert!(!is_short(&settings("-1"), needed) && !is_short(&BTreeMap::new(), needed));
    }
}
