//! A Redis that fails over under load, behind Sentinels and as a Redis Cluster: each row is there once in the end, those too that a replica had not got when
//! its primary died, and the page, `rtf tail`, `rtf verify` and `rtf doctor` find them. Both are reached over TLS with users of few rights.

use std::fs;
use std::io::BufRead;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rtf_proto::naming;
use rtf_synth::{CLICKS, Clicks, ClicksParams, Tally};
use rtf_testing::{
    Authority, Checker, Instance, Kafka, KafkaOptions, Load, Pipeline, PipelineOptions, Progress,
    Redis, RedisCluster, RedisOptions, Role, SecuredServers, Sentinel, SentinelOptions,
    create_topics, doctor, doctors, free_port, grant_as_documented, http, redis_url, tls_arguments,
    wait_until,
};
use serde_json::Value;

const PAIRS: u64 = 8_000;
/// Paced so that the load outlasts the failover.
const PAIRS_PER_SECOND: u32 = 400;
const TOPIC_PARTITIONS: u32 = 4;
/// Silent for so long, a primary is replaced; a busy machine is silent for a second.
const DOWN_AFTER: Duration = Duration::from_secs(3);
/// Rows that show that it goes on.
const MORE: u64 = 300;

const READY_WITHIN: Duration = Duration::from_secs(90);
const MORE_WITHIN: Duration = Duration::from_secs(60);
const REPLACED_WITHIN: Duration = Duration::from_secs(60);
const DRAINED_WITHIN: Duration = Duration::from_secs(120);
/// The page's answer to one question.
const PAGE_ROWS: usize = 100;

/// Two publishers, of which each may write what the other would.
const ROLES: [Instance; 6] = [
    Instance(Role::Registry, 0),
    Instance(Role::Joiner, 0),
    Instance(Role::Dispatcher, 0),
    Instance(Role::Publisher, 0),
    Instance(Role::Publisher, 1),
    Instance(Role::Web, 0),
];

#[test]
#[ignore = "needs real servers: ./test runs it"]
fn rows_are_there_once_though_sentinels_replace_the_primary() -> Result<()> {
    let mut watched = Watched::start()?;
    let more = format!("[redis.sentinel]\nmaster = \"{}\"\n", Sentinel::MASTER);
    let options = options("kind = \"sentinel\"\n", more);
    let mut stage = Stage::start(&options, &watched.url(), &redis_url(&watched.nodes))?;
    let load = stage.load()?;
    stage.more_rows(MORE)?;

    let at_first = |node: &Redis| Progress::new(&stage.checker, &node.url())?.rows();
    watched.cut_off_replica()?;
    let before = at_first(&watched.nodes[0])?;
    wait_until("rows that the replica has not got", MORE_WITHIN, || {
        at_first(&watched.nodes[0])
            .is_ok_and(|rows| rows >= before + MORE)
            .then_some(())
    })?;
    watched.nodes[0].kill9()?;
    let kept = at_first(&watched.nodes[1])?;
    ensure!(kept < before + MORE, "the replica has lost none of {kept}");
    watched.wait_replaced()?;
    eprintln!("{} rows were lost, at least", before + MORE - kept);

    let tally = load.finish()?;
    stage.all_is_there(&tally)?;
    ensure!(stage.moved()? > 0.0, "nobody found the stream elsewhere");
    stage.found_by_all(&tally)?;
    doctor(&stage.pipeline, 0, &[])?.demand(&[("Redis", "ok"), ("Redis rights", "ok")])?;
    // The old one is told to follow; nothing of it is read meanwhile.
    watched.nodes[0].restart()?;
    stage.found_by_all(&tally)
}

#[test]
#[ignore = "needs real servers: ./test runs it"]
fn rows_are_there_once_though_a_node_of_a_cluster_dies_and_a_slot_moves() -> Result<()> {
    let mut cluster = RedisCluster::start()?;
    // Two of its six nodes are named: the others are found.
    let named = redis_url(&cluster.nodes[..2]);
    let options = options("kind = \"cluster\"\n", String::new());
    let mut stage = Stage::start(&options, &named, &cluster.url())?;
    let load = stage.load()?;
    stage.more_rows(MORE)?;

    let moved = naming::redis_stream(CLICKS.name, 0);
    let from = cluster.owner(&moved).context("somebody has the stream")?;
    cluster.move_slot_of(&moved, (from + 1) % 3)?;
    let to = cluster.wait_moved(&moved, from)?;
    eprintln!("{moved} moved from node {from} to node {to}");
    stage.more_rows(MORE)?;

    // One of those that are named.
    let stream = naming::redis_stream(CLICKS.name, 1);
    let dead = cluster.owner(&stream).context("somebody has the stream")?;
    cluster.nodes[dead].kill9()?;
    let heir = cluster.wait_moved(&stream, dead)?;
    eprintln!("node {heir} replaced node {dead}");
    stage.more_rows(MORE)?;

    let tally = load.finish()?;
    stage.all_is_there(&tally)?;
    stage.found_by_all(&tally)?;
    cluster.nodes[dead].restart()?;
    cluster.wait_ok()?;
    let checks = ["Redis", "Redis rights", "Redis Cluster"].map(|check| (check, "ok"));
    doctor(&stage.pipeline, 0, &[])?.demand(&checks)?;
    let single = doctor(
        &stage.pipeline,
        1,
        &["redis.kind=single", &url_of(&cluster.nodes[0])],
    )?;
    single.says("is a node of a Redis Cluster")?;
    stage.found_by_all(&tally)
}

#[test]
#[ignore = "needs real servers: ./test runs it"]
fn sentinels_and_nodes_let_in_who_has_a_certificate_and_the_passwords() -> Result<()> {
    let authority = Authority::new()?;
    let ours = authority.sign("rtf")?;
    let password = authority.folder().join("password");
    fs::write(&password, SecuredServers::PASSWORD)?;
    let login = format!("rediss://rtf:${{file:{}}}@", password.display());
    let tls = format!(
        "[redis.tls]\nca = \"{}\"\ncertificate = \"{}\"\nkey = \"{}\"\n",
        authority.certificate().display(),
        ours.certificate.display(),
        ours.key.display()
    );
    secured_sentinel(&authority, &login, &tls)?;
    secured_cluster(&authority, &login, &tls)
}

/// The Sentinel knows other users than Redis does.
fn secured_sentinel(authority: &Authority, login: &str, tls: &str) -> Result<()> {
    let (port, sentinel_port) = (free_port()?, free_port()?);
    let redis = Redis::start(&RedisOptions {
        arguments: tls_arguments(authority, "redis", port)?,
        ..RedisOptions::default()
    })?;
    grant_as_documented(&redis, &["+role"])?;
    let arguments = tls_arguments(authority, "sentinel", sentinel_port)?;
    let lines = arguments.chunks(2).map(|pair| {
        let line = pair.join(" ");
        format!("{}\n", line.trim_start_matches('-'))
    });
    let lines: String = lines.collect();
    let _sentinel = Sentinel::start(
        SocketAddr::new(redis.host().ip().parse()?, port),
        &SentinelOptions {
            more: lines
                + "tls-replication yes\nuser watcher on >battery +sentinel|get-master-addr-by-name\n",
            ..SentinelOptions::default()
        },
    )?;
    let more = format!(
        "[redis.sentinel]\nmaster = \"{}\"\nuser = \"watcher\"\npassword = \"battery\"\n{tls}",
        Sentinel::MASTER
    );
    let url = format!("{login}127.0.0.1:{sentinel_port}");
    let pipeline = Pipeline::new(&options("kind = \"sentinel\"\n", more), NOWHERE, &url)?;
    let wrong: [(&[&str], &str); 3] = [
        (&["redis.sentinel.password=staple"], "in [redis.sentinel]"),
        (&["redis.sentinel.master=other"], "[redis.sentinel].master"),
        (
            &[
                "redis.kind=cluster",
                "redis.sentinel.master=",
                "redis.sentinel.user=",
                "redis.sentinel.password=",
            ],
            "[redis]",
        ),
    ];
    lets_in(&pipeline, &wrong)
}

fn secured_cluster(authority: &Authority, login: &str, tls: &str) -> Result<()> {
    let mut ports = Vec::new();
    let cluster = RedisCluster::start_primaries(|number| {
        let port = free_port()?;
        ports.push(port);
        let mut arguments = tls_arguments(authority, &format!("node-{number}"), port)?;
        arguments.extend(["--tls-cluster".to_owned(), "yes".to_owned()]);
        Ok(arguments)
    })?;
    for node in &cluster.nodes {
        grant_as_documented(node, &["+cluster|slots"])?;
    }
    let url = format!("{login}127.0.0.1:{},127.0.0.1:{}", ports[0], ports[1]);
    let options = options("kind = \"cluster\"\n", tls.into());
    let pipeline = Pipeline::new(&options, NOWHERE, &url)?;
    let wrong: [(&[&str], &str); 2] = [
        (&["redis.password=staple"], "[redis].password"),
        (
            &[
                "redis.kind=sentinel",
                "redis.sentinel.master=rows",
                "redis.sentinel.user=rtf",
                "redis.sentinel.password=correct-horse",
            ],
            "[redis]",
        ),
    ];
    lets_in(&pipeline, &wrong)
}

/// No Kafka is needed to ask Redis.
const NOWHERE: &str = "127.0.0.1:1";

/// The doctor and a reader get in, and who is refused is told what to correct.
fn lets_in(pipeline: &Pipeline, wrong: &[(&[&str], &str)]) -> Result<()> {
    // These rights do not let it ask how the server is.
    let found = doctor(pipeline, 1, &[])?;
    found.demand(&[("Redis", "warn"), ("Redis rights", "ok")])?;
    let tail = pipeline.rtf("tail", &["--from-beginning", "--no-follow"])?;
    ensure!(tail.code() == 0, "{}", tail.output);
    let settings: Vec<&[&str]> = wrong.iter().map(|(settings, _)| *settings).collect();
    for (found, (_, words)) in doctors(pipeline, 1, &settings)?.iter().zip(wrong) {
        found.demand(&[("Redis", "fail")])?;
        found.says(words)?;
    }
    Ok(())
}

fn options(more_redis: &'static str, more: String) -> PipelineOptions {
    PipelineOptions {
        is_cluster: true,
        registries: 1,
        joiners: 1,
        more_redis,
        more,
        ..PipelineOptions::new(CLICKS)
    }
}

fn url_of(node: &Redis) -> String {
    format!("redis.url={}", node.url())
}

/// A primary, its replica, and three Sentinels that watch them.
struct Watched {
    nodes: [Redis; 2],
    sentinels: Vec<Sentinel>,
}

impl Watched {
    /// The user of replication, which can be taken its right.
    const REPLICATOR: [&str; 6] = ["--user", "replicator", "on", ">link", "+psync", "+replconf"];

    fn start() -> Result<Self> {
        let first = Self::node(&[])?;
        let port = first.port().to_string();
        let second = Self::node(&["--replicaof", first.host().ip(), &port])?;
        let options = SentinelOptions {
            down_after: DOWN_AFTER,
            quorum: 2,
            more: String::new(),
            ..SentinelOptions::default()
        };
        let place = SocketAddr::new(first.host().ip().parse()?, first.port());
        let sentinels = (0..3).map(|_| Sentinel::start(place, &options));
        let watched = Self {
            nodes: [first, second],
            sentinels: sentinels.collect::<Result<_>>()?,
        };
        watched.wait_prepared()?;
        Ok(watched)
    }

    fn node(more: &[&str]) -> Result<Redis> {
        let follow = [
            "+ping",
            "--masteruser",
            "replicator",
            "--masterauth",
            "link",
        ];
        let arguments = [&Self::REPLICATOR[..], &follow, more].concat();
        Redis::start(&RedisOptions {
            append_only: true,
            arguments: arguments.into_iter().map(str::to_owned).collect(),
            ..RedisOptions::default()
        })
    }

    fn wait_prepared(&self) -> Result<()> {
        wait_until("the Sentinels know all", REPLACED_WITHIN, || {
            let mut sentinels = self.sentinels.iter();
            sentinels
                .all(|sentinel| sentinel.is_prepared(1).unwrap_or_default())
                .then_some(())
        })
    }

    fn url(&self) -> String {
        let places = self.sentinels.iter().map(|s| s.address().to_string());
        format!("redis://{}", places.collect::<Vec<_>>().join(","))
    }

    /// It gets nothing any more, and goes on answering.
    fn cut_off_replica(&self) -> Result<()> {
        let mut primary = self.nodes[0].connection()?;
        let mut forbid = redis::cmd("ACL");
        forbid.arg(&["SETUSER", "replicator", "off"]);
        forbid.exec(&mut primary)?;
        let mut kill = redis::cmd("CLIENT");
        kill.arg(&["KILL", "TYPE", "replica"]);
        Ok(kill.exec(&mut primary)?)
    }

    fn wait_replaced(&self) -> Result<()> {
        let heir = self.nodes[1].port();
        wait_until("the Sentinels name the other one", REPLACED_WITHIN, || {
            let mut named = self.sentinels.iter().map(Sentinel::primary);
            named
                .all(|primary| primary.is_ok_and(|primary| primary.port() == heir))
                .then_some(())
        })
    }
}

/// Kafka, the roles, and what they have to do.
struct Stage {
    pipeline: Pipeline,
    progress: Progress,
    checker: Checker,
    clicks: Clicks,
    _kafka: Kafka,
}

impl Stage {
    /// `redis` is what the roles are told, `nodes` are all servers that may have rows.
    fn start(options: &PipelineOptions, redis: &str, nodes: &str) -> Result<Self> {
        let kafka = Kafka::start(&KafkaOptions {
            properties: vec![("group.min.session.timeout.ms".into(), "1000".into())],
            ..KafkaOptions::default()
        })?;
        create_topics(&kafka.bootstrap(), &CLICKS, TOPIC_PARTITIONS)?;
        let checker = Checker::new(&kafka.bootstrap(), nodes, CLICKS);
        let mut pipeline = Pipeline::new(options, &kafka.bootstrap(), redis)?;
        pipeline.start_all(&ROLES, READY_WITHIN)?;
        Ok(Self {
            pipeline,
            progress: Progress::new(&checker, nodes)?,
            checker,
            clicks: Clicks::new(ClicksParams {
                count: PAIRS,
                per_second: PAIRS_PER_SECOND.try_into()?,
                ..ClicksParams::default()
            }),
            _kafka: kafka,
        })
    }

    fn load(&self) -> Result<Load> {
        Load::start(self.checker.settings(), CLICKS, self.clicks.events())
    }

    fn more_rows(&mut self, more: u64) -> Result<()> {
        // Not every node of a cluster knows at once that it is whole again.
        let before = wait_until("rows are counted", MORE_WITHIN, || {
            self.progress.rows().ok()
        })?;
        wait_until("more rows", MORE_WITHIN, || {
            let now = self.progress.rows();
            now.is_ok_and(|now| now >= before + more).then_some(())
        })
    }

    fn all_is_there(&mut self, tally: &Tally) -> Result<()> {
        self.progress
            .wait_resolved(tally.accepted(), DRAINED_WITHIN)?;
        self.progress.wait_rows(tally.joins, DRAINED_WITHIN)?;
        self.progress.wait_committed(DRAINED_WITHIN)?;
        let checked = self.checker.check(self.clicks.expected())?;
        eprintln!("{checked:?}");
        Ok(())
    }

    /// Appends that found another last row than they expected.
    fn moved(&self) -> Result<f64> {
        let publishers = ROLES.iter().filter(|role| role.0 == Role::Publisher);
        let moved = publishers.map(|publisher| {
            let url = self.pipeline.health(*publisher);
            http::metric(&url, "rtf_publisher_appends_total", "outcome=\"moved\"")
        });
        moved.sum()
    }

    /// By the product's own readers.
    fn found_by_all(&self, tally: &Tally) -> Result<()> {
        let report = self.pipeline.rtf("verify", &["--json"])?.done()?;
        for (name, number) in [("rows", tally.joins), ("lost", 0), ("duplicated", 0)] {
            ensure!(report[name] == number, "{name}: {report}");
        }
        let tail = self
            .pipeline
            .rtf("tail", &["--from-beginning", "--no-follow"])?;
        let rows = tail.output.lines().filter(|line| line.starts_with('{'));
        let rows = rows.count() as u64;
        ensure!(rows == tally.joins, "rtf tail has {rows}: {}", tail.output);
        self.page_shows_rows()
    }

    /// Those that are there, and as they come.
    fn page_shows_rows(&self) -> Result<()> {
        let page = self.pipeline.web();
        wait_until("the page's rows", MORE_WITHIN, || {
            let answer = http::get(&format!("{page}/api/rows?limit={PAGE_ROWS}")).ok()?;
            let answer: Value = serde_json::from_str(answer.body()).ok()?;
            (answer["rows"].as_array()?.len() == PAGE_ROWS).then_some(())
        })?;
        let accept = [("accept", "text/event-stream")];
        let stream = http::open(&format!("{page}/api/stream?after=-"), &accept, MORE_WITHIN)?;
        for line in stream.into_body().lines() {
            if line?.starts_with("data:") {
                return Ok(());
            }
        }
        bail!("the page's stream ended without a row")
    }
}
