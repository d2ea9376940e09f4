//! What an operator may do to registries: look, pause, drain, compare, retire, pass over a broken record, rebuild. With two replicas and a token.

use anyhow::{Context, Result, ensure};
use rtf_kafka::Cluster;
use rtf_kafka::Sender;
use rtf_proto::client::{Endpoints, RegistryClient};
use rtf_proto::{Outcome, Registration, Registry, Source, Token, TopicId, Verdict};
use rtf_synth::{CLICKS, ClicksParams, Share};
use rtf_testing::{
    Instance, Operator, Pipeline, PipelineOptions, Progress, Role, Scene, Servers, TopicReader,
    http, pause, wait_until,
};
use serde_json::Value;
use std::time::Duration;

const PAIRS: u64 = 4000;
const PAIRS_PER_SECOND: u32 = 1000;
const PARTITIONS: u32 = 4;
const LOG: &str = "clicks.joins";
const TOKEN: &str = "[admin]\ntoken = \"s3cret\"\n";
const REGISTRIES: [Instance; 2] = [Instance(Role::Registry, 0), Instance(Role::Registry, 1)];
const OTHERS: [Instance; 3] = [
    Instance(Role::Joiner, 0),
    Instance(Role::Dispatcher, 0),
    Instance(Role::Publisher, 0),
];
const READY_WITHIN: Duration = Duration::from_secs(60);
const MOVES_WITHIN: Duration = Duration::from_secs(30);
const DONE_WITHIN: Duration = Duration::from_secs(60);
const STOPS_WITHIN: Duration = Duration::from_secs(30);
/// Long against what an event takes, so that silence says something.
const SILENCE: Duration = Duration::from_secs(1);
/// A topic that nobody reads.
const GONE: TopicId = TopicId([7; 16]);

#[test]
#[ignore = "needs real servers: ./test runs it"]
fn an_operator_looks_after_two_registries() -> Result<()> {
    let options = PipelineOptions {
        is_cluster: true,
        partitions: PARTITIONS,
        wait_max: "3s",
        more: TOKEN.into(),
        ..PipelineOptions::new(CLICKS)
    };
    let clicks = ClicksParams {
        count: PAIRS,
        per_second: PAIRS_PER_SECOND.try_into()?,
        late: Share::NONE,
        ..ClicksParams::default()
    };
    let mut scene = Scene::open(&options, clicks)?;
    let all = [REGISTRIES.as_slice(), &OTHERS].concat();
    scene.pipeline.start_all(&all, READY_WITHIN)?;

    let load = scene.load()?;
    moves(&mut scene.progress)?;
    the_token_is_asked_for(&Operator(&scene.pipeline))?;
    paused_and_resumed(&scene.pipeline, &mut scene.progress)?;
    let tally = load.finish()?;
    scene.drained(&tally)?;
    scene.check()?;

    let operator = Operator(&scene.pipeline);
    all_is_shown(&operator, tally.accepted())?;
    an_id_is_found(&operator, TopicReader::open(scene.checker.settings(), LOG)?)?;
    let Scene {
        mut pipeline,
        servers,
        ..
    } = scene;
    for instance in OTHERS {
        pipeline.stop(instance)?;
    }
    a_topic_is_retired(&Operator(&pipeline))?;
    a_broken_record_is_passed_over(&mut pipeline, &servers)?;
    a_view_is_made_anew(&mut pipeline)?;
    a_lost_beginning_is_accepted(&mut pipeline, &servers)
}

fn moves(progress: &mut Progress) -> Result<()> {
    let before = progress.resolved()?;
    wait_until("more events are resolved", MOVES_WITHIN, || {
        progress
            .resolved()
            .is_ok_and(|now| now > before)
            .then_some(())
    })
}

fn the_token_is_asked_for(operator: &Operator<'_>) -> Result<()> {
    let wrong = "--set=admin.token=s3cre";
    for command in [["pause"].as_slice(), &["gc"], &["log-level", "debug"]] {
        let with = |token| [command, &[token]].concat();
        operator.refuses(&with(wrong), "this is not the [admin].token")?;
        operator.refuses(&with("--set=admin.token="), "wants [admin].token")?;
    }
    // Looking is free.
    let status = operator.run(&["status", wrong])?;
    ensure!(status.code() == 0, "{}", status.output);
    let printed = operator.0.rtf("config", &["print"])?;
    ensure!(!printed.output.contains("s3cret"), "{}", printed.output);
    operator.does(&["log-level", "info,rtf_registry=debug"])?;
    operator.refuses(&["log-level", "rtf=loud"], "is not a filter")
}

/// Nothing is registered while all replicas are drained; with one of them paused the other does it.
fn paused_and_resumed(pipeline: &Pipeline, progress: &mut Progress) -> Result<()> {
    let operator = Operator(pipeline);
    let drained = operator.does(&["drain"])?;
    for replica in drained["replicas"].as_array().context("replicas")? {
        ensure!(replica["pending"] == 0, "{drained}");
    }
    let before = progress.logged_events()?;
    pause(SILENCE);
    ensure!(
        progress.logged_events()? == before,
        "it went on while paused"
    );
    for instance in REGISTRIES {
        let ready = http::get(&format!("{}/readyz", pipeline.health(instance)))?;
        let body = ready.body();
        ensure!(
            ready.status() == 503 && body.contains("paused by an operator"),
            "{body}"
        );
    }
    operator.refuses(&["status"], "paused by an operator")?;

    operator.does(&["resume"])?;
    let again = operator.run(&["resume"])?;
    ensure!(
        again.output.matches("was not paused").count() == 2,
        "{}",
        again.output
    );
    operator.does(&["pause", "--endpoint", &operator.endpoint(0)])?;
    moves(progress)?;
    operator.does(&["resume"])?;
    Ok(())
}

fn all_is_shown(operator: &Operator<'_>, ids: u64) -> Result<()> {
    wait_until("both replicas have all ids", MOVES_WITHIN, || {
        let status = operator.does(&["status"]).ok()?;
        let replicas = status["replicas"].as_array()?;
        let has_all = |replica: &Value| {
            let partitions = replica["partitions"].as_array()?.iter();
            let held: Option<u64> = partitions.map(|partition| partition["ids"].as_u64()).sum();
            (held? == ids && replica["disk_bytes"].as_u64()? > 0).then_some(())
        };
        (replicas.len() == 2 && replicas.iter().all(|r| has_all(r).is_some())).then_some(())
    })?;
    let status = operator.run(&["status"])?;
    eprintln!("{}", status.output);
    for word in ["PARTITION", "BUCKET FROM", "being written", "4,0", "ready"] {
        ensure!(
            status.output.contains(word),
            "no `{word}`: {}",
            status.output
        );
    }
    let digest = operator.does(&["digest"])?;
    ensure!(digest["agree"] == true, "{digest}");
    eprintln!("{}", operator.run(&["digest"])?.output);
    let nobody = ["digest", "--endpoint", "http://127.0.0.1:1"];
    operator.refuses(&nobody, "does not answer")?;
    let collected = operator.does(&["gc"])?;
    ensure!(collected["replicas"][1]["ok"] == true, "{collected}");
    Ok(())
}

/// Each replica says of an id what the log says.
fn an_id_is_found(operator: &Operator<'_>, mut log: TopicReader) -> Result<()> {
    let mut winner = None;
    log.read_to_end(|record| {
        if let (None, Some(key)) = (&winner, record.key()) {
            winner = Some((
                String::from_utf8(key.to_vec())?,
                record.partition(),
                record.offset(),
            ));
        }
        Ok(())
    })?;
    let (id, partition, offset) = winner.context("the log has an event")?;
    let found = operator.does(&["lookup", &id])?;
    for replica in found["replicas"].as_array().context("replicas")? {
        ensure!(
            replica["partition"] == partition && replica["offset"] == offset,
            "{found}"
        );
        ensure!(replica["bucket"]["ids"].as_u64() > Some(0), "{found}");
    }
    operator.refuses(&["lookup", "nobody"], "not remembered")
}

fn a_topic_is_retired(operator: &Operator<'_>) -> Result<()> {
    register_from_gone(&operator.endpoint(0))?;
    let gone = GONE.to_string();
    let waits = |operator: &Operator<'_>| {
        Ok::<_, anyhow::Error>(operator.does(&["status"])?.to_string().contains(&gone))
    };
    ensure!(waits(operator)?, "the source is not awaited");
    let retired = operator.does(&["retire", &gone])?;
    ensure!(retired["replicas"][0]["released"] == 1, "{retired}");
    wait_until("both replicas have let go", MOVES_WITHIN, || {
        waits(operator).is_ok_and(|waits| !waits).then_some(())
    })?;
    let again = operator.does(&["retire", &gone])?;
    ensure!(again["replicas"][0]["released"] == 0, "{again}");
    Ok(())
}

/// One id of a topic that no dispatcher will ever commit.
fn register_from_gone(url: &str) -> Result<()> {
    let registration = Registration {
        id: "from-gone".into(),
        outcome: Outcome::Malformed,
        source: Source {
            topic: "gone".into(),
            topic_id: GONE,
            partition: 0,
            offset: 41,
        },
        token: Token::fresh(),
        later_ts: 0,
        body: Default::default(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let verdicts = runtime.block_on(async {
        let client = RegistryClient::new(Endpoints::new(&[url.to_owned()])?);
        anyhow::Ok(client.register(vec![registration]).await?)
    })?;
    ensure!(
        matches!(verdicts[0], Verdict::Registered(_)),
        "{verdicts:?}"
    );
    Ok(())
}

/// Ours by its magic, and damaged: every replica stops at it, until it is named in the configuration.
fn a_broken_record_is_passed_over(pipeline: &mut Pipeline, servers: &Servers) -> Result<()> {
    let settings = rtf_testing::kafka_settings(&servers.kafka.bootstrap());
    let broken = [b"RTFJ\x01\x02".as_slice(), &[0; 60]].concat();
    let sender = Sender::open(&settings)?;
    sender.send(LOG, Some(3), None, Some(&broken))?;
    sender.flush(DONE_WITHIN)?;
    let mut place = None;
    TopicReader::open(&settings, LOG)?.read_to_end(|record| {
        if record.value() == Some(&broken) {
            place = Some(format!("{}/{}", record.partition(), record.offset()));
        }
        Ok(())
    })?;
    let place = place.context("the record is in the log")?;
    let words = format!("skip_records = [\"{place}\"]");
    for instance in REGISTRIES {
        let process = pipeline.process(instance)?;
        let status = process.wait(STOPS_WITHIN)?;
        ensure!(status.code() == Some(1), "{instance} ended with {status}");
        let log = process.log()?;
        ensure!(log.contains(&words), "no `{words}` in: {log}");
    }
    for instance in REGISTRIES {
        pipeline.set(instance, "registry.skip_records", &format!("[\"{place}\"]"));
        pipeline.start_ready(instance, READY_WITHIN)?;
        let log = pipeline.process(instance)?.log()?;
        ensure!(log.contains("a broken record of ours is skipped"), "{log}");
        let metrics = http::get(&format!("{}/metrics", pipeline.health(instance)))?.into_body();
        let skipped = "rtf_registry_skipped_records_total 1";
        ensure!(metrics.contains(skipped), "no `{skipped}`: {metrics}");
    }
    ensure!(Operator(pipeline).does(&["digest"])?["agree"] == true);
    Ok(())
}

fn a_view_is_made_anew(pipeline: &mut Pipeline) -> Result<()> {
    let data = pipeline.registry_data(1);
    let of_it = format!("--set=registry.data={}", data.display());
    let operator = Operator(pipeline);
    operator.refuses(&["rebuild", &of_it], "a registry runs on this directory")?;
    pipeline.stop(REGISTRIES[1])?;
    let operator = Operator(pipeline);
    let planned = operator.run(&["rebuild", &of_it])?;
    eprintln!("{}", planned.output);
    ensure!(
        planned.code() == 0 && planned.output.contains("would move"),
        "{}",
        planned.output
    );
    ensure!(data.join("view").exists(), "a plan was carried out");
    let rebuilt = operator.does(&["rebuild", &of_it, "--execute"])?;
    ensure!(rebuilt["executed"] == true, "{rebuilt}");
    ensure!(!data.join("view").exists() && data.join("view.aside-0").exists());
    pipeline.start_ready(REGISTRIES[1], READY_WITHIN)?;
    ensure!(Operator(pipeline).does(&["digest"])?["agree"] == true);
    Ok(())
}

/// All records are gone, and with them every checkpoint: a replica from nothing refuses to guess until it is told to.
fn a_lost_beginning_is_accepted(pipeline: &mut Pipeline, servers: &Servers) -> Result<()> {
    for instance in REGISTRIES {
        pipeline.stop(instance)?;
    }
    let cluster = Cluster::connect(servers.checker(CLICKS).settings())?;
    let end = |partition| Ok((partition, cluster.offsets(LOG, partition)?.1));
    let below: Vec<_> = (0..PARTITIONS).map(end).collect::<Result<_>>()?;
    servers.kafka.delete_records(LOG, &below)?;

    let instance = REGISTRIES[0];
    Operator(pipeline).does(&["rebuild", "--execute"])?;
    pipeline.start(instance)?;
    let process = pipeline.process(instance)?;
    let status = process.wait(STOPS_WITHIN)?;
    let log = process.log()?;
    ensure!(
        status.code() == Some(1) && log.contains("rebuild --accept-loss"),
        "{log}"
    );
    let accepted = Operator(pipeline).does(&["rebuild", "--execute", "--accept-loss"])?;
    ensure!(
        accepted["empty_checkpoints"].as_array().map(Vec::len) == Some(4),
        "{accepted}"
    );
    pipeline.start_ready(instance, READY_WITHIN)?;
    pipeline.stop(instance)
}
