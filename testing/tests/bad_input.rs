//! Bad input: records that are no events, servers that are not there, configurations that cannot be meant. Each gets clear words
//! or a MALFORMED record; good events go on, and nothing is lost.

use std::fs;
use std::net::TcpListener;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rtf_kafka::Sender;
use rtf_proto::naming;
use rtf_synth::{Join, Stream};
use rtf_testing::{
    Fate, Finished, Instance, Pipeline, PipelineOptions, Role, Servers, free_port, wait_until,
};

const PAYMENTS: Join = Join {
    name: "shop",
    foreign: Stream::of("payments", "/order"),
    primary: Stream::of("orders", "/order"),
    order_by: None,
};
const ALL: Instance = Instance(Role::All, 0);
const CONFIG_TOOL: &str = "kafka.admin.ConfigCommand";
const TOPIC_TOOL: &str = "org.apache.kafka.tools.TopicCommand";
const READY_WITHIN: Duration = Duration::from_secs(60);
const DONE_WITHIN: Duration = Duration::from_secs(90);
const FLUSH_WITHIN: Duration = Duration::from_secs(30);
/// Good pairs before, between and after the bad records.
const GOOD_BETWEEN: usize = 50;
/// Valid records of 900 KB and their partners: together more than Kafka's usual megabyte.
const LARGE_BYTES: usize = 900 * 1024;
const LARGE_PARTNER_BYTES: usize = 300 * 1024;
const LONG_KEY_BYTES: usize = 64 * 1024;
const NESTED: usize = 10_000;

/// A JSON object with these raw JSON values.
fn object(id: &str, key: &str, note: &str) -> Vec<u8> {
    format!("{{\"id\":{id},\"order\":{key},\"note\":{note}}}").into_bytes()
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// What is sent, and what must come of it.
struct Shop {
    sender: Sender,
    expected: Vec<Fate>,
    good: usize,
}

impl Shop {
    fn open(servers: &Servers) -> Result<Self> {
        servers.create_topics(&PAYMENTS, 3)?;
        let sender = Sender::open(servers.checker(PAYMENTS).settings())?;
        Ok(Self {
            sender,
            expected: Vec::new(),
            good: 0,
        })
    }

    fn foreign(&self, key: Option<&[u8]>, value: Option<&[u8]>) -> Result<()> {
        Ok(self.sender.send("payments", None, key, value)?)
    }

    fn primary(&self, key: Option<&[u8]>, value: Option<&[u8]>) -> Result<()> {
        Ok(self.sender.send("orders", None, key, value)?)
    }

    /// A pair that must be joined, with these notes and a key of its own.
    fn pair(&mut self, key: &str, foreign_note: &str, primary_note: &str) -> Result<()> {
        let number = self.good;
        self.good += 1;
        let (payment, order) = (format!("payment {number}"), format!("order {number}"));
        let (id, json_key) = (quoted(&payment), quoted(key));
        let value = object(&id, &json_key, foreign_note);
        self.foreign(Some(key.as_bytes()), Some(&value))?;
        let value = object(&quoted(&order), &json_key, primary_note);
        self.primary(Some(key.as_bytes()), Some(&value))?;
        self.expected.push(Fate::Joined {
            id: payment,
            key: key.into(),
            primary: Some(order),
        });
        Ok(())
    }

    fn good_pairs(&mut self, count: usize) -> Result<()> {
        for _ in 0..count {
            let key = format!("key {}", self.good);
            self.pair(&key, "1", "2")?;
        }
        Ok(())
    }

    /// A record that is no event, to both topics.
    fn bad(&mut self, value: Option<Vec<u8>>) -> Result<()> {
        self.foreign(Some(b"bad"), value.as_deref())?;
        self.primary(Some(b"bad"), value.as_deref())?;
        self.expected.push(Fate::Malformed { value });
        Ok(())
    }

    fn joined(&self) -> u64 {
        let is_joined = |fate: &&Fate| matches!(fate, Fate::Joined { .. });
        self.expected.iter().filter(is_joined).count() as u64
    }

    fn flush(&self) -> Result<()> {
        Ok(self.sender.flush(FLUSH_WITHIN)?)
    }
}

/// Records that are no events, each unlike the others.
fn bad_values() -> Vec<Option<Vec<u8>>> {
    let (id, key) = (quoted("bad"), quoted("bad key"));
    let with = |id: &str, key: &str| object(id, key, "0");
    let mut invalid = object(&id, &key, "\"..\"");
    let at = invalid.len() - "..\"}".len();
    invalid[at] = 0xff;
    let mut cut_short = object(&id, &key, "7");
    cut_short.pop();
    let texts = [
        b"GET /payment HTTP/1.1".to_vec(),
        b"   ".to_vec(),
        b"null".to_vec(),
        b"42".to_vec(),
        b"[1,2]".to_vec(),
        b"{}".to_vec(),
        b"\0".to_vec(),
        vec![0; 1000],
        [&object(&id, &key, "1")[..], b", and so on"].concat(),
        format!("{{\"order\":{key}}}").into_bytes(),
        format!("{{\"id\":{id}}}").into_bytes(),
        with("null", &key),
        with("true", &key),
        with("\"\"", &key),
        with("{}", &key),
        with(&quoted(&"i".repeat(2_000)), &key),
        with(&id, "null"),
        with(&id, "false"),
        with(&id, "\"\""),
        with(&id, "[\"bad key\"]"),
        with(&id, "{\"key\":1}"),
        with(&id, "\"\\ud83d\""),
        object(&id, &key, "\"\0\""),
        object(&id, &key, "\"\n\""),
        object(&id, &key, &"[".repeat(NESTED)),
        vec![b'x'; LARGE_BYTES],
        object(&id, "null", &quoted(&"x".repeat(LARGE_BYTES))),
        invalid,
        cut_short,
        vec![0xff, 0xfe, 0x80],
    ];
    let texts = texts.into_iter().map(Some);
    texts.chain([None, Some(Vec::new())]).collect()
}

#[test]
#[ignore = "needs real servers: ./test runs it"]
fn bad_records_are_kept_as_malformed_and_good_ones_go_on() -> Result<()> {
    let servers = Servers::start()?;
    let mut shop = Shop::open(&servers)?;
    let mut progress = servers.progress(PAYMENTS)?;
    let mut pipeline = servers.pipeline(&PipelineOptions::new(PAYMENTS))?;
    pipeline.start_ready(ALL, READY_WITHIN)?;

    shop.good_pairs(GOOD_BETWEEN)?;
    for value in bad_values() {
        shop.bad(value)?;
        shop.good_pairs(GOOD_BETWEEN)?;
    }
    let large = quoted(&"x".repeat(LARGE_BYTES));
    let large_partner = quoted(&"y".repeat(LARGE_PARTNER_BYTES));
    shop.pair("large", &large, &large_partner)?;
    shop.pair(&"k".repeat(LONG_KEY_BYTES), "1", "2")?;
    shop.pair("a\0b", "\"\\u0000\"", "\"\\u0000\"")?;
    let nested = "[".repeat(NESTED) + &"]".repeat(NESTED);
    shop.pair("nested", &nested, &nested)?;
    shop.pair("✈ ünïcode \u{202e}", "\"🛫\"", "\"🛬\"")?;
    shop.good_pairs(GOOD_BETWEEN)?;
    shop.flush()?;

    progress.wait_resolved(shop.expected.len() as u64, DONE_WITHIN)?;
    progress.wait_rows(shop.joined(), DONE_WITHIN)?;
    progress.wait_committed(DONE_WITHIN)?;
    let checked = servers.checker(PAYMENTS).check(shop.expected)?;
    eprintln!("bad input: {checked:?}");
    let verified = pipeline.rtf("verify", &["--json"])?;
    ensure!(verified.code() == 0, "rtf verify: {}", verified.output);
    let report = verified.json()?;
    ensure!(report["malformed"] == checked.malformed, "{report}");
    pipeline.stop(ALL)
}

#[test]
#[ignore = "needs real servers: ./test runs it"]
fn redis_that_refuses_delays_rows_and_nothing_else() -> Result<()> {
    let mut servers = Servers::start()?;
    servers.redis.stop()?;
    let mut shop = Shop::open(&servers)?;
    let mut progress = servers.progress(PAYMENTS)?;
    let mut pipeline = servers.pipeline(&PipelineOptions::new(PAYMENTS))?;
    pipeline.start(ALL)?;
    shop.good_pairs(500)?;
    shop.flush()?;
    progress.wait_resolved(shop.joined(), DONE_WITHIN)?;
    progress.wait_committed(DONE_WITHIN)?;
    let address = servers
        .redis
        .url()
        .trim_start_matches("redis://")
        .to_owned();
    let process = pipeline.process(ALL)?;
    process.wait_for_log(&address, READY_WITHIN)?;

    servers.redis.restart()?;
    progress.wait_rows(shop.joined(), DONE_WITHIN)?;
    servers.checker(PAYMENTS).check(shop.expected.clone())?;

    // And once more, when it has worked before.
    servers.redis.kill9()?;
    shop.good_pairs(500)?;
    shop.flush()?;
    progress.wait_resolved(shop.joined(), DONE_WITHIN)?;
    servers.redis.restart()?;
    progress.wait_rows(shop.joined(), DONE_WITHIN)?;
    servers.checker(PAYMENTS).check(shop.expected)?;
    pipeline.wait_ready(ALL, READY_WITHIN)?;
    pipeline.stop(ALL)
}

/// Demands an exit code and these words.
fn demand(finished: &Finished, code: i32, words: &[&str]) -> Result<()> {
    let output = &finished.output;
    ensure!(
        finished.code() == code,
        "exit code {}, wanted {code}: {output}",
        finished.code()
    );
    for word in words {
        ensure!(output.contains(word), "{word:?} is not said: {output}");
    }
    ensure!(!output.contains("panicked"), "{output}");
    Ok(())
}

fn run(pipeline: &Pipeline) -> Result<Finished> {
    pipeline.rtf::<&str>("run", &[])
}

#[test]
#[ignore = "needs real servers: ./test runs it"]
fn what_cannot_run_says_why_and_where() -> Result<()> {
    let servers = Servers::start()?;
    let mut pipeline = servers.pipeline(&PipelineOptions::new(PAYMENTS))?;
    demand(&run(&pipeline)?, 1, &["does not exist", "create it"]).context("no topics")?;

    servers.create_topics(&PAYMENTS, 1)?;
    for key in ["join.foreign.topic", "join.primary.topic"] {
        let no_topic = pipeline.rtf("run", &["--set", &format!("{key}=nowhere")])?;
        let side = key.trim_end_matches(".topic");
        demand(&no_topic, 1, &["`nowhere`", "create it", side]).context(key)?;
    }
    for role in [Role::Registry, Role::Web] {
        let port = pipeline.port(role, 0);
        let taken = TcpListener::bind(("127.0.0.1", port))?;
        let refused = run(&pipeline)?;
        demand(&refused, 1, &[&port.to_string(), "in use"]).context("a port in use")?;
        drop(taken);
    }

    pipeline.start_ready(ALL, READY_WITHIN)?;
    pipeline.stop(ALL)?;
    let other = pipeline.rtf("run", &["--set", "join.name=another"])?;
    let data = pipeline.registry_data(0);
    let data = data.to_str().context("a temporary folder is text")?;
    demand(&other, 1, &[data]).context("the data directory of another log")?;
    // What it refused is still there and good.
    pipeline.start_ready(ALL, READY_WITHIN)?;
    pipeline.stop(ALL)?;
    a_log_that_would_lose_what_it_decided(&servers, &mut pipeline)
}

/// The log's topic is as it must be, or nothing is served.
fn a_log_that_would_lose_what_it_decided(servers: &Servers, pipeline: &mut Pipeline) -> Result<()> {
    let topic = naming::log_topic(PAYMENTS.name);
    let alter = |tool, arguments: &[&str]| servers.kafka.tool(tool, arguments, "");
    let set = |setting: &str| {
        let of = [
            "--alter",
            "--entity-type",
            "topics",
            "--entity-name",
            &topic,
        ];
        alter(
            CONFIG_TOOL,
            &[of.as_slice(), &["--add-config", setting]].concat(),
        )
    };
    for (wrong, right) in [
        ("cleanup.policy=compact", "cleanup.policy=delete"),
        ("retention.ms=60000", "retention.ms=-1"),
        (
            "message.timestamp.type=CreateTime",
            "message.timestamp.type=LogAppendTime",
        ),
    ] {
        set(wrong)?;
        let (setting, value) = wrong.split_once('=').context("a setting")?;
        let refused = run(pipeline)?;
        demand(&refused, 1, &[&topic, setting, value, "kafka-configs.sh"]).context(wrong)?;
        set(right)?;
    }
    pipeline.start_ready(ALL, READY_WITHIN)?;
    pipeline.stop(ALL)?;
    alter(
        TOPIC_TOOL,
        &["--alter", "--topic", &topic, "--partitions", "6"],
    )?;
    demand(
        &run(pipeline)?,
        1,
        &[&topic, "somebody else raised the number"],
    )
}

#[test]
#[ignore = "needs real servers: ./test runs it"]
fn a_broker_that_is_not_there_is_named() -> Result<()> {
    let nobody = format!("127.0.0.1:{}", free_port()?);
    let redis = format!("redis://127.0.0.1:{}", free_port()?);
    let mut pipeline = Pipeline::new(&PipelineOptions::new(PAYMENTS), &nobody, &redis)?;
    pipeline.start(ALL)?;
    let process = pipeline.process(ALL)?;
    // It may wait for the broker or give up; either way it says whom it waits for.
    process.wait_for_log(&nobody, READY_WITHIN)?;
    if let Some(status) = process.status()? {
        ensure!(status.code() == Some(1), "{status}: {}", process.log()?);
        return Ok(());
    }
    process.sigterm()?;
    let ended = wait_until("the end", READY_WITHIN, || process.status().transpose())??;
    ensure!(
        matches!(ended.code(), Some(0 | 1)),
        "{ended}: {}",
        process.log()?
    );
    Ok(())
}

#[test]
#[ignore = "needs real servers: ./test runs it"]
fn a_configuration_that_cannot_be_meant_is_refused() -> Result<()> {
    let redis = format!("redis://127.0.0.1:{}", free_port()?);
    let pipeline = Pipeline::new(&PipelineOptions::new(PAYMENTS), "127.0.0.1:1", &redis)?;
    let good = fs::read_to_string(pipeline.config())?;
    let cases = [
        ("horizon", "horizont", ["`horizont`", "horizon"]),
        ("max = \"15s\"", "max = \"15\"", ["join.wait.max", "15"]),
        (
            "max = \"15s\"",
            "max = \"2d\"",
            ["join.wait.max", "horizon"],
        ),
        (
            "[\"/order\"]",
            "[\"order\"]",
            ["join.foreign.key", "`order`"],
        ),
        ("[join.foreign]", "[join.foreign", ["rtf.toml", "line"]),
        (
            "[kafka]",
            "[kafka.properties]\nacks = 0\n[kafka]",
            ["acks", "cannot be set"],
        ),
    ];
    for (what, instead, words) in cases {
        ensure!(good.contains(what), "{what} is not in the configuration");
        fs::write(pipeline.config(), good.replacen(what, instead, 1))?;
        demand(&run(&pipeline)?, 64, &words).with_context(|| instead.to_owned())?;
    }
    fs::remove_file(pipeline.config())?;
    demand(&run(&pipeline)?, 64, &["rtf.toml"]).context("no configuration file")
}
