//! Which of librdkafka's properties may be set, and which go together. Pure.

use crate::check::{Problem, Severity};
use crate::secret::Secret;
use std::collections::BTreeMap;

/// librdkafka properties that are ours, and what to use instead.
const OURS: [(&str, &str); 24] = [
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
    ("group.protocol", "it is classic"),
    ("enable.auto.commit", "only the low-water mark is committed"),
    ("auto.commit.enable", "only the low-water mark is committed"),
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
    ("max.in.flight", "the order of appends depends on it"),
    ("message.max.bytes", "it follows the join log's own limit"),
    ("partitioner", "it is Java's default, murmur2"),
    ("test.mock.num.brokers", "`rtf demo` has an embedded broker"),
];

/// Properties of Java's client that stand in many a file, and librdkafka's instead.
const JAVAS: [(&str, &str); 9] = [
    ("sasl.jaas.config", "use sasl.username and sasl.password"),
    ("ssl.truststore.location", "use ssl.ca.location, a PEM file"),
    ("ssl.truststore.password", "use ssl.ca.location, a PEM file"),
    ("ssl.truststore.certificates", "use ssl.ca.pem"),
    ("ssl.truststore.type", "use ssl.ca.location, a PEM file"),
    (
        "ssl.keystore.type",
        "use ssl.certificate.location and ssl.key.location, PEM files",
    ),
    ("ssl.keystore.key", "use ssl.key.pem"),
    ("ssl.keystore.certificate.chain", "use ssl.certificate.pem"),
    (
        "sasl.client.callback.handler.class",
        "classes of Java's do not run here",
    ),
];

const PROTOCOL: &str = "security.protocol";
/// Two names of one property.
const MECHANISMS: [&str; 2] = ["sasl.mechanism", "sasl.mechanisms"];
const WHICH: &str = "use PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER";

/// What is wrong with them.
pub(crate) fn problems(properties: &BTreeMap<String, Secret>) -> Vec<Problem> {
    let barred = OURS.iter().chain(&JAVAS);
    let mut problems: Vec<Problem> = barred
        .filter(|(property, _)| properties.contains_key(*property))
        .map(|(property, instead)| {
            problem(
                Severity::Error,
                property,
                &format!("cannot be set: {instead}"),
            )
        })
        .collect();
    problems.extend(of_sasl(properties));
    problems
}

/// How we say who we are, and whether anybody else can hear it.
fn of_sasl(properties: &BTreeMap<String, Secret>) -> Option<Problem> {
    let value = |name: &str| properties.get(name).map(Secret::reveal);
    let mechanism = MECHANISMS
        .iter()
        .find_map(|name| Some((*name, value(name)?.to_uppercase())));
    let protocol = value(PROTOCOL).unwrap_or_default().to_uppercase();
    let has_sasl = protocol.starts_with("SASL_");
    match mechanism {
        // Kerberos is librdkafka's default, and not built in.
        None if has_sasl => {
            let words = format!("is missing: {WHICH}");
            Some(problem(Severity::Error, MECHANISMS[0], &words))
        }
        Some((name, mechanism)) if mechanism == "GSSAPI" => {
            let words = format!("= GSSAPI (Kerberos) is not built in: {WHICH}");
            Some(problem(Severity::Error, name, &words))
        }
        Some((name, _)) if !has_sasl => {
            let words = format!("has no effect unless {PROTOCOL} is SASL_SSL (or SASL_PLAINTEXT)");
            Some(problem(Severity::Warning, name, &words))
        }
        Some((_, mechanism)) if mechanism == "PLAIN" && protocol == "SASL_PLAINTEXT" => {
            let words = "= SASL_PLAINTEXT sends the password in the clear: use SASL_SSL";
            Some(problem(Severity::Warning, PROTOCOL, words))
        }
        _ => None,
    }
}

fn problem(severity: Severity, property: &str, words: &str) -> Problem {
    Problem {
        severity,
        key: format!("kafka.properties.{property}"),
        words: words.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_kafka_is_told_who_we_are_goes_together() {
        use Severity::{Error, Warning};
        for (protocol, mechanism, wanted) in [
            ("", "", None),
            ("SSL", "", None),
            ("SASL_SSL", "SCRAM-SHA-512", None),
            ("sasl_ssl", "PLAIN", None),
            ("SASL_PLAINTEXT", "SCRAM-SHA-256", None),
            ("SASL_SSL", "", Some((Error, "sasl.mechanism"))),
            ("SASL_SSL", "GSSAPI", Some((Error, "sasl.mechanism"))),
            ("", "PLAIN", Some((Warning, "sasl.mechanism"))),
            ("SSL", "PLAIN", Some((Warning, "sasl.mechanism"))),
            (
                "SASL_PLAINTEXT",
                "PLAIN",
                Some((Warning, "security.protocol")),
            ),
        ] {
            let set = [
                ("security.protocol", protocol),
                ("sasl.mechanism", mechanism),
            ];
            let set = set.into_iter().filter(|(_, value)| !value.is_empty());
            let properties = set.map(|(name, value)| (name.into(), value.to_owned().into()));
            let found = problems(&properties.collect());
            let found: Vec<_> = found.iter().map(|p| (p.severity, p.key.as_str())).collect();
            let wanted =
                wanted.map(|(severity, name)| (severity, format!("kafka.properties.{name}")));
            let wanted: Vec<_> = wanted.iter().map(|(s, key)| (*s, key.as_str())).collect();
            assert_eq!(found, wanted, "{protocol} {mechanism}");
        }
    }

    #[test]
    fn what_java_calls_otherwise_is_said() {
        let set = [(
            "sasl.jaas.config".to_owned(),
            Secret::from("hunter2".to_owned()),
        )]
        .into();
        let found = problems(&set);
        assert!(
            found[0].words.contains("sasl.username") && found.len() == 1,
            "{found:?}"
        );
    }
}
