//! The harness itself: servers start on ports of their own, keep what they promise to keep when they are
//! killed, and come back where they were.

use std::time::Duration;

use anyhow::Result;
use rtf_testing::{Kafka, KafkaOptions, Redis, RedisOptions, wait_until};

const TOPIC: &str = "harness";

fn records(kafka: &Kafka) -> Result<u64> {
    let offsets = kafka.tool(
        "org.apache.kafka.tools.GetOffsetShell",
        &["--topic", TOPIC],
        "",
    )?;
    offsets
        .lines()
        .map(|line| Ok(line.rsplit(':').next().unwrap_or_default().parse::<u64>()?))
        .sum()
}

fn produce(kafka: &Kafka, lines: &str) -> Result<()> {
    let arguments = ["--topic", TOPIC, "--producer-property", "acks=all"];
    kafka
        .tool("org.apache.kafka.tools.ConsoleProducer", &arguments, lines)
        .map(drop)
}

fn set(redis: &Redis, key: &str, value: &str) -> Result<()> {
    Ok(redis::cmd("SET")
        .arg(key)
        .arg(value)
        .exec(&mut redis.connection()?)?)
}

fn get(redis: &Redis, key: &str) -> Result<Option<String>> {
    Ok(redis::cmd("GET").arg(key).query(&mut redis.connection()?)?)
}

#[test]
#[ignore = "needs real servers: ./test runs it"]
fn kafka_keeps_acknowledged_records_when_killed() -> Result<()> {
    let mut kafka = Kafka::start(&KafkaOptions {
        properties: vec![("log.retention.ms".into(), "7200000".into())],
        ..KafkaOptions::default()
    })?;
    let bootstrap = kafka.bootstrap();
    kafka.create_topic(TOPIC, 3, &[("retention.ms", "-1")])?;
    kafka.create_topic(TOPIC, 3, &[])?;
    produce(&kafka, "one\ntwo\nthree\n")?;
    assert_eq!(records(&kafka)?, 3);

    kafka.kill9()?;
    assert!(!kafka.process().is_running()?);
    kafka.restart()?;
    assert_eq!(kafka.bootstrap(), bootstrap);
    assert_eq!(records(&kafka)?, 3);

    kafka.stop()?;
    kafka.restart()?;
    produce(&kafka, "four\n")?;
    assert_eq!(records(&kafka)?, 4);
    Ok(())
}

#[test]
#[ignore = "needs real servers: ./test runs it"]
fn kafka_with_a_wrong_property_says_so() {
    let options = KafkaOptions {
        properties: vec![("log.retention.ms".into(), "soon".into())],
        ..KafkaOptions::default()
    };
    let error = format!("{:#}", Kafka::start(&options).unwrap_err());
    assert!(error.contains("log.retention.ms"), "{error}");
}

#[test]
#[ignore = "needs real servers: ./test runs it"]
fn redis_with_an_append_only_file_keeps_acknowledged_writes_when_killed() -> Result<()> {
    let mut redis = Redis::start(&RedisOptions {
        append_only: true,
        ..Default::default()
    })?;
    let url = redis.url();
    set(&redis, "key", "value")?;
    redis.kill9()?;
    assert!(redis.connection().is_err());
    redis.restart()?;
    assert_eq!(redis.url(), url);
    assert_eq!(get(&redis, "key")?.as_deref(), Some("value"));
    redis.flushall()?;
    assert_eq!(get(&redis, "key")?, None);
    Ok(())
}

#[test]
#[ignore = "needs real servers: ./test runs it"]
fn redis_without_an_append_only_file_forgets() -> Result<()> {
    let mut redis = Redis::start(&RedisOptions::default())?;
    set(&redis, "key", "value")?;
    redis.stop()?;
    redis.restart()?;
    assert_eq!(get(&redis, "key")?, None);
    Ok(())
}

#[test]
#[ignore = "needs real servers: ./test runs it"]
fn two_redis_are_two_and_take_arguments() -> Result<()> {
    let arguments = vec!["--maxmemory".to_owned(), "10mb".to_owned()];
    let small = Redis::start(&RedisOptions {
        arguments,
        ..Default::default()
    })?;
    let other = Redis::start(&RedisOptions::default())?;
    assert_ne!(small.port(), other.port());
    set(&small, "key", "value")?;
    assert_eq!(get(&other, "key")?, None);
    let mut connection = small.connection()?;
    let limit: Vec<String> = redis::cmd("CONFIG")
        .arg("GET")
        .arg("maxmemory")
        .query(&mut connection)?;
    assert_eq!(limit, ["maxmemory", "10485760"]);
    Ok(())
}

#[test]
#[ignore = "needs real servers: ./test runs it"]
fn frozen_redis_is_connected_to_but_does_not_answer() -> Result<()> {
    let mut redis = Redis::start(&RedisOptions::default())?;
    let mut connection = redis.connection()?;
    connection.set_read_timeout(Some(Duration::from_millis(100)))?;
    redis.process().sigstop()?;
    assert!(redis::cmd("PING").exec(&mut connection).is_err());
    redis.process().sigcont()?;
    wait_until("an answer", Duration::from_secs(20), || {
        redis::cmd("PING").exec(&mut redis.connection().ok()?).ok()
    })
}
