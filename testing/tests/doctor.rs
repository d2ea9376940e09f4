//! `rtf doctor` finds what is wrong, says it, and ends as scripts want it to.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rtf_kafka::Cluster;
use rtf_synth::CLICKS;
use rtf_testing::{
    Kafka, KafkaOptions, Pipeline, PipelineOptions, Redis, RedisOptions, Servers, create_topics,
    doctor, kafka_settings, rtf_binary, wait_until,
};

const SOON: Duration = Duration::from_secs(30);
const ACL_TOOL: &str = "org.apache.kafka.tools.AclCommand";

fn synth(kafka: &Kafka) -> Result<()> {
    let mut command = Command::new(rtf_binary()?);
    command.args(["synth", "clicks", "--count", "500", "--fast", "--kafka"]);
    let output = command.arg(kafka.bootstrap()).output()?;
    ensure!(output.status.success(), "{output:?}");
    Ok(())
}

#[test]
#[ignore = "needs real servers: ./test runs it"]
fn what_is_wrong_is_found() -> Result<()> {
    let mut servers = Servers::start()?;
    let pipeline = servers.pipeline(&PipelineOptions::new(CLICKS))?;
    let nothing = doctor(&pipeline, 1, &[])?;
    nothing.demand(&[
        ("foreign topic", "fail"),
        ("primary topic", "fail"),
        ("join log", "ok"),
        ("Redis", "ok"),
    ])?;

    servers.create_topics(&CLICKS, 3)?;
    let empty = doctor(&pipeline, 0, &[])?;
    empty.demand(&[
        ("foreign topic", "ok"),
        ("foreign records", "warn"),
        ("keys", "missing"),
    ])?;

    synth(&servers.kafka)?;
    let good = doctor(&pipeline, 0, &[])?;
    // One broker has no three copies of the log, and it has a session shorter than most allow.
    good.demand(&[("Kafka", "warn"), ("configuration", "warn")])?;
    for check in [
        "foreign topic",
        "primary topic",
        "join log",
        "our topics",
        "group",
        "transactions",
        "broker clock",
        "foreign records",
        "primary records",
        "keys",
        "Redis",
        "Redis memory",
        "Redis disk",
        "Redis rights",
        "Redis clock",
        "registry.data",
        "joiner.data",
        "roles",
    ] {
        good.demand(&[(check, "ok")])?;
    }

    let wrong_key = doctor(&pipeline, 0, &[r#"join.foreign.key=["/campaign"]"#])?;
    wrong_key.demand(&[("keys", "warn"), ("foreign records", "ok")])?;
    let wrong_field = doctor(&pipeline, 1, &[r#"join.foreign.key=["/nonsense"]"#])?;
    wrong_field.demand(&[("foreign records", "fail")])?;
    let refused = pipeline.rtf("doctor", &["--set=join.wait.max=30d"])?;
    ensure!(refused.code() == 64, "{}", refused.output);

    redis_is_unsafe(&servers, &pipeline)?;
    let cluster = Cluster::connect(&kafka_settings(&servers.kafka.bootstrap()))?;
    cluster.ensure_topic("clicks.joins", 4, None, &[("cleanup.policy", "compact")])?;
    let log = doctor(&pipeline, 1, &[])?;
    log.demand(&[("join log", "fail")])?;

    servers.redis.kill9()?;
    doctor(&pipeline, 1, &[])?.demand(&[("Redis", "fail"), ("foreign topic", "ok")])?;
    servers.kafka.kill9()?;
    let dead = doctor(&pipeline, 1, &[])?;
    dead.demand(&[
        ("Kafka", "fail"),
        ("Redis", "fail"),
        ("join log", "missing"),
    ])
}

/// A Redis that forgets, that is full, and one that does not let us.
fn redis_is_unsafe(servers: &Servers, pipeline: &Pipeline) -> Result<()> {
    let mut redis = servers.redis.connection()?;
    let mut set = |name: &str, value: &str| -> Result<()> {
        Ok(redis::cmd("CONFIG")
            .arg("SET")
            .arg(name)
            .arg(value)
            .exec(&mut redis)?)
    };
    set("maxmemory-policy", "allkeys-lru")?;
    set("appendonly", "no")?;
    let unsafe_ = doctor(pipeline, 0, &[])?;
    unsafe_.demand(&[("Redis memory", "warn"), ("Redis disk", "warn")])?;
    set("maxmemory-policy", "noeviction")?;
    set("appendonly", "yes")?;

    let mut redis = servers.redis.connection()?;
    let user = [
        "SETUSER",
        "reader",
        "on",
        ">pw",
        "~clicks:*",
        "+@read",
        "+info",
        "+acl|whoami",
        "+acl|dryrun",
    ];
    redis::cmd("ACL").arg(&user).exec(&mut redis)?;
    let url = servers
        .redis
        .url()
        .replace("redis://", "redis://reader:pw@");
    let reader = doctor(pipeline, 1, &[&format!("redis.url={url}")])?;
    reader.demand(&[("Redis rights", "fail"), ("Redis", "ok")])?;
    ensure!(!reader.to_string().contains("pw@"), "a password is shown");
    // Without the right to ask, a script that is not there tells.
    redis::cmd("ACL")
        .arg(&["SETUSER", "reader", "-acl|dryrun", "-acl|whoami"])
        .exec(&mut redis)?;
    doctor(pipeline, 1, &[&format!("redis.url={url}")])?.demand(&[("Redis rights", "fail")])?;
    let user = ["SETUSER", "writer", "on", ">pw", "~clicks:*", "+@all"];
    redis::cmd("ACL").arg(&user).exec(&mut redis)?;
    let url = servers
        .redis
        .url()
        .replace("redis://", "redis://writer:pw@");
    doctor(pipeline, 0, &[&format!("redis.url={url}")])?.demand(&[("Redis rights", "ok")])
}

/// Access lists that deny: each check names its own.
#[test]
#[ignore = "needs real servers: ./test runs it"]
fn missing_rights_are_found() -> Result<()> {
    let kafka = Kafka::start(&KafkaOptions {
        properties: [
            (
                "authorizer.class.name",
                "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            ),
            ("allow.everyone.if.no.acl.found", "true"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .to_vec(),
        ..KafkaOptions::default()
    })?;
    let redis = Redis::start(&RedisOptions::default())?;
    let pipeline = Pipeline::new(
        &PipelineOptions::new(CLICKS),
        &kafka.bootstrap(),
        &redis.url(),
    )?;
    create_topics(&kafka.bootstrap(), &CLICKS, 2)?;
    synth(&kafka)?;
    doctor(&pipeline, 0, &[])?.demand(&[("foreign topic", "ok"), ("transactions", "ok")])?;

    let set = |rule: &str, operation: &str, of: &[&str]| -> Result<()> {
        let rule = [
            "--add",
            "--force",
            rule,
            "User:ANONYMOUS",
            "--operation",
            operation,
        ];
        kafka.tool(ACL_TOOL, &[rule.as_slice(), of].concat(), "")?;
        Ok(())
    };
    let allow = |operation: &str, of: &[&str]| set("--allow-principal", operation, of);
    let deny = |operation: &str, of: &[&str]| set("--deny-principal", operation, of);
    // What has any rule allows nothing else any more.
    let ours = ["--topic", "clicks.", "--resource-pattern-type", "prefixed"];
    allow("Describe", &["--topic", "clicks"])?;
    allow("Describe", &ours)?;
    allow("All", &["--cluster"])?;
    deny("Read", &["--topic", "clicks"])?;
    deny("Describe", &["--group", "clicks.dispatcher"])?;
    deny("Create", &ours)?;
    deny(
        "Write",
        &[
            "--transactional-id",
            "clicks.dead",
            "--resource-pattern-type",
            "prefixed",
        ],
    )?;
    deny("Create", &["--cluster"])?;
    // A broker learns of them a little later.
    let wanted = [
        ("foreign topic", "fail"),
        ("group", "fail"),
        ("join log", "fail"),
        ("our topics", "fail"),
        ("transactions", "warn"),
        ("primary topic", "ok"),
    ];
    let mut last = None;
    let found = wait_until("all that is denied", SOON, || {
        let said = doctor(&pipeline, 1, &[]).ok()?;
        let is_found = said.demand(&wanted);
        let found = is_found.is_ok();
        last = is_found.err();
        found.then_some(said)
    });
    let said = found.with_context(|| format!("{last:?}"))?;
    said.says("the right to Read is missing")
}
