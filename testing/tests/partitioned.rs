//! The primary topic's partitions spread over a group of joiners: whoever of them dies, stalls or comes back, each event ends once, and never as
//! one without a partner because nobody held its key. A topic that is not cut by its keys is refused, and noticed later.

use anyhow::{Result, ensure};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rtf_kafka::{Cluster, Sender};
use rtf_proto::partitioner::partition_of;
use rtf_synth::{CLICKS, Clicks, ClicksParams, Share};
use rtf_testing::{
    Instance, Pipeline, PipelineOptions, Role, Scene, Servers, http, kafka_settings, pause, seed,
    wait_until,
};
use std::time::Duration;

/// A multiple of the joiners, so that each holds a third.
const PARTITIONS: u32 = 6;
const JOINERS: [Instance; 3] = [
    Instance(Role::Joiner, 0),
    Instance(Role::Joiner, 1),
    Instance(Role::Joiner, 2),
];
const REGISTRY: Instance = Instance(Role::Registry, 0);
const OTHERS: [Instance; 2] = [Instance(Role::Dispatcher, 0), Instance(Role::Publisher, 0)];
const PAIRS: u64 = 55_000;
const PAIRS_PER_SECOND: u32 = 1_000;
const KILLS: u32 = 4;
/// Decides who is killed, and when.
const SEED: u64 = 14;
const WITHIN: Duration = Duration::from_secs(60);
/// The group forgets a member that is silent for so long.
const SESSION: Duration = Duration::from_secs(2);

fn options(joiners: u16, wait_max: &'static str) -> PipelineOptions {
    PipelineOptions {
        is_cluster: true,
        registries: 1,
        joiners,
        wait_max,
        ..PipelineOptions::new(CLICKS)
    }
}

/// Has these joiners share the partitions from their next start on.
fn partition(pipeline: &mut Pipeline, joiners: &[Instance]) {
    for joiner in joiners {
        pipeline.set(*joiner, "joiner.layout", "partitioned");
        pipeline.set(*joiner, "joiner.session_timeout", "2s");
    }
}

/// A metric of each joiner; 0 for one that does not answer.
fn each(pipeline: &Pipeline, metric: &str) -> Vec<u64> {
    let of = |joiner: &Instance| http::metric(&pipeline.health(*joiner), metric, "");
    let values = JOINERS.iter().map(|joiner| of(joiner).unwrap_or(0.0));
    values.map(|value| value as u64).collect()
}

/// Waits until all partitions are answered for, so many by each joiner.
fn wait_for_shares(pipeline: &Pipeline, fit: fn(&[u64]) -> bool) -> Result<()> {
    wait_until("the partitions are shared", WITHIN, || {
        let ready = each(pipeline, "rtf_joiner_partitions_ready");
        (ready.iter().sum::<u64>() == u64::from(PARTITIONS) && fit(&ready)).then_some(())
    })
}

fn moves(scene: &mut Scene) -> Result<()> {
    let before = scene.progress.resolved()?;
    scene.progress.wait_more_than(before)
}

#[test]
#[ignore = "needs real servers: ./test runs it"]
fn each_event_ends_once_though_joiners_die_stall_and_come_back() -> Result<()> {
    let mut scene = scene()?;
    let pipeline = &mut scene.pipeline;
    partition(pipeline, &JOINERS);
    pipeline.start_ready(REGISTRY, WITHIN)?;
    pipeline.start_all(&JOINERS, WITHIN)?;
    pipeline.start_all(&OTHERS, WITHIN)?;
    wait_for_shares(pipeline, |ready| ready == [2, 2, 2])?;
    let load = scene.load()?;
    let mut rng = ChaCha8Rng::seed_from_u64(seed(SEED)?);
    for kill in 1..=KILLS {
        moves(&mut scene)?;
        let joiner = JOINERS[rng.random_range(0..JOINERS.len())];
        scene.pipeline.kill9(joiner)?;
        // Sometimes before the group knows, sometimes after others have what it had.
        pause(Duration::from_millis(rng.random_range(0..5_000)));
        scene.pipeline.start(joiner)?;
        eprintln!(
            "kill {kill}: {joiner}, {} resolved",
            scene.progress.resolved()?
        );
    }
    stalls(&mut scene, JOINERS[1])?;
    ensure!(!load.is_finished(), "the load was too short");
    let tally = load.finish()?;
    scene.drained(&tally)?;
    let checked = scene.check()?;
    eprintln!("{checked:?}");
    scene.verified(&checked, &tally)?;
    holds_a_third_each(&scene.pipeline, checked.joined)?;
    for joiner in JOINERS {
        scene.pipeline.stop(joiner)?;
    }
    Ok(())
}

fn scene() -> Result<Scene> {
    let servers = Servers::start()?;
    servers.create_topics(&CLICKS, PARTITIONS)?;
    let clicks = ClicksParams {
        seed: seed(SEED)?,
        count: PAIRS,
        per_second: PAIRS_PER_SECOND.try_into()?,
        late: Share::per_thousand(200),
        ..ClicksParams::default()
    };
    Ok(Scene {
        pipeline: servers.pipeline(&options(3, "15s"))?,
        progress: servers.progress(CLICKS)?,
        checker: servers.checker(CLICKS),
        clicks: Clicks::new(clicks),
        servers,
    })
}

/// Frozen until the others hold its partitions and answer for them; then it goes on with what it had in mind.
fn stalls(scene: &mut Scene, joiner: Instance) -> Result<()> {
    wait_for_shares(&scene.pipeline, |ready| ready == [2, 2, 2])?;
    scene.pipeline.process(joiner)?.sigstop()?;
    pause(SESSION);
    let others = JOINERS.iter().filter(|other| **other != joiner);
    let others: Vec<String> = others.map(|other| scene.pipeline.health(*other)).collect();
    wait_until("the others hold everything", WITHIN, || {
        let ready = others
            .iter()
            .filter_map(|url| http::metric(url, "rtf_joiner_partitions_ready", "").ok());
        (ready.sum::<f64>() == f64::from(PARTITIONS)).then_some(())
    })?;
    moves(scene)?;
    scene.pipeline.process(joiner)?.sigcont()?;
    wait_for_shares(&scene.pipeline, |ready| ready == [2, 2, 2])?;
    let log = scene.pipeline.process(joiner)?.log()?;
    ensure!(
        log.contains("primary partitions lost"),
        "{joiner} noticed nothing: {log}"
    );
    moves(scene)
}

/// `primaries`: how many there are, each of which some event was joined with.
fn holds_a_third_each(pipeline: &Pipeline, primaries: u64) -> Result<()> {
    wait_for_shares(pipeline, |ready| ready == [2, 2, 2])?;
    let mut held = Vec::new();
    wait_until("all primaries are held", WITHIN, || {
        held = each(pipeline, "rtf_joiner_events");
        (held.iter().sum::<u64>() == primaries).then_some(())
    })?;
    eprintln!("held: {held:?}");
    for events in &held {
        ensure!(
            (primaries / 4..primaries * 5 / 12).contains(events),
            "{held:?} of {primaries}"
        );
    }
    let status = pipeline.rtf("status", &[] as &[&str])?.output;
    let shares = status.matches(" of 6").count();
    ensure!(
        shares == JOINERS.len(),
        "{shares} joiners say what they hold: {status}"
    );
    Ok(())
}

fn query(id: &str) -> String {
    format!(r#"{{"query_id":"{id}","time":"2026-01-01T00:00:00Z"}}"#)
}

/// A key, and a partition that is not its own.
fn elsewhere(key: &str) -> Option<u32> {
    Some((partition_of(key.as_bytes(), PARTITIONS) + 1) % PARTITIONS)
}

#[test]
#[ignore = "needs real servers: ./test runs it"]
fn a_topic_that_is_cut_otherwise_is_refused() -> Result<()> {
    let servers = Servers::start()?;
    servers.create_topics(&CLICKS, PARTITIONS)?;
    let settings = kafka_settings(&servers.kafka.bootstrap());
    let sender = Sender::open(&settings)?;
    let topic = CLICKS.primary.topic;
    sender.send(
        topic,
        elsewhere("77"),
        Some(b"77"),
        Some(query("77").as_bytes()),
    )?;
    sender.flush(WITHIN)?;
    let mut pipeline = servers.pipeline(&options(1, "15s"))?;
    partition(&mut pipeline, &JOINERS[..1]);
    pipeline.start_ready(REGISTRY, WITHIN)?;
    pipeline.start(JOINERS[0])?;
    let joiner = pipeline.process(JOINERS[0])?;
    let status = joiner.wait(WITHIN)?;
    ensure!(!status.success(), "it ended well");
    let log = joiner.log()?;
    let place = format!(
        "the record at offset 0 of partition {}",
        elsewhere("77").unwrap_or_default()
    );
    for words in [
        "topic `queries` is not partitioned by its join keys",
        &place,
        "has the key `77`",
        "set [joiner].layout = \"all\"",
    ] {
        ensure!(log.contains(words), "no {words:?} in: {log}");
    }
    Ok(())
}

/// What breaks the layout while joiners are at work: nothing is given up for lack of an answer, and with every joiner holding all it goes on.
fn breaks(break_it: impl Fn(&Servers, &Sender) -> Result<()>, words: &str) -> Result<()> {
    let servers = Servers::start()?;
    servers.create_topics(&CLICKS, PARTITIONS)?;
    let sender = Sender::open(&kafka_settings(&servers.kafka.bootstrap()))?;
    let mut pipeline = servers.pipeline(&options(2, "3s"))?;
    let mut progress = servers.progress(CLICKS)?;
    let joiners = &JOINERS[..2];
    partition(&mut pipeline, joiners);
    pipeline.start_ready(REGISTRY, WITHIN)?;
    pipeline.start_all(joiners, WITHIN)?;
    pipeline.start_all(&OTHERS, WITHIN)?;
    break_it(&servers, &sender)?;
    // All of those that hold what shows it.
    let is_broken = || {
        joiners.iter().any(|joiner| {
            let answer = http::get(&format!("{}/readyz", pipeline.health(*joiner)));
            answer.is_ok_and(|answer| answer.status() != 200 && answer.body().contains(words))
        })
    };
    wait_until("a joiner says that the layout is broken", WITHIN, || {
        is_broken().then_some(())
    })?;
    // Every dispatcher has heard of it.
    pause(Duration::from_secs(2));
    for number in 0..20 {
        let click = format!(
            r#"{{"click_id":"c{number}","query_id":"{number}","time":"2026-01-01T00:00:00Z"}}"#
        );
        sender.send(CLICKS.foreign.topic, None, None, Some(click.as_bytes()))?;
    }
    sender.flush(WITHIN)?;
    // Longer than any event may wait.
    pause(Duration::from_secs(6));
    ensure!(progress.resolved()? == 0, "something was resolved");
    for joiner in joiners {
        pipeline.kill9(*joiner)?;
        pipeline.set(*joiner, "joiner.layout", "all");
    }
    pipeline.start_all(joiners, WITHIN)?;
    progress.wait_resolved(20, WITHIN)?;
    progress.wait_rows(20, WITHIN)
}

#[test]
#[ignore = "needs real servers: ./test runs it"]
fn a_primary_in_a_wrong_partition_stops_all_answers_until_the_layout_is_changed() -> Result<()> {
    let in_wrong_ones = |_: &Servers, sender: &Sender| {
        for number in 0..20 {
            let key = number.to_string();
            let value = query(&key);
            sender.send(
                CLICKS.primary.topic,
                elsewhere(&key),
                Some(key.as_bytes()),
                Some(value.as_bytes()),
            )?;
        }
        Ok(sender.flush(WITHIN)?)
    };
    breaks(in_wrong_ones, "is not partitioned by its join keys")
}

#[test]
#[ignore = "needs real servers: ./test runs it"]
fn more_partitions_stop_all_answers_until_the_layout_is_changed() -> Result<()> {
    let raised = |servers: &Servers, sender: &Sender| {
        for number in 0..20 {
            let key = number.to_string();
            let value = query(&key);
            sender.send(
                CLICKS.primary.topic,
                None,
                Some(key.as_bytes()),
                Some(value.as_bytes()),
            )?;
        }
        sender.flush(WITHIN)?;
        let cluster = Cluster::connect(&kafka_settings(&servers.kafka.bootstrap()))?;
        Ok(cluster.raise_partitions(CLICKS.primary.topic, PARTITIONS + 2)?)
    };
    breaks(raised, "has 8 partitions now, not 6")
}
