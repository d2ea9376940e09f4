//! Parking: events that wait for long, or are too many for memory, wait in Kafka; killed at any moment nothing is lost and nothing doubled, and a partner that
//! arrives wakes them there too.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rtf_kafka::{Cluster, Sender};
use rtf_synth::{CLICKS, ClicksParams, Join, Share, Stream};
use rtf_testing::{Fate, Instance, PipelineOptions, Role, Scene, Servers, http, pause, wait_until};
use serde_json::json;

const ALL: Instance = Instance(Role::All, 0);
const DISPATCHERS: [Instance; 2] = [Instance(Role::Dispatcher, 0), Instance(Role::Dispatcher, 1)];
const READY_WITHIN: Duration = Duration::from_secs(60);
const DONE_WITHIN: Duration = Duration::from_secs(120);
const FLUSH_WITHIN: Duration = Duration::from_secs(30);
/// And little memory.
const SHORT_TIERS: &str =
    "park_after = \"1s\"\ntiers = [\"1s\", \"3s\", \"6s\"]\nmax_events = 300\n";
/// Nothing comes back in its time while the test runs.
const LONG_TIERS: &str = "park_after = \"0s\"\ntiers = [\"30m\"]\nmax_events = 1\n";

#[test]
#[ignore = "needs real servers: ./test runs it"]
fn what_is_parked_is_joined_or_given_up_once_though_dispatchers_die() -> Result<()> {
    let options = PipelineOptions {
        wait_max: "25s",
        more_wait: SHORT_TIERS,
        ..PipelineOptions::new(CLICKS)
    };
    let clicks = ClicksParams {
        seed: 11,
        count: 30_000,
        per_second: 750.try_into()?,
        late: Share::per_thousand(300),
        late_by_ms: 9_000,
        orphans: Share::per_thousand(100),
        ..ClicksParams::default()
    };
    let rests = (0..10).map(|round| Duration::from_millis(2_000 + 500 * (round % 4)));
    killed_while_they_wait(options, clicks, rests)
}

/// A quarter of an hour, so not part of `./test`: `cargo test --release -p rtf-testing --features soak --test parking -- --ignored soak`.
#[cfg(feature = "soak")]
#[test]
#[ignore = "needs real servers, and a quarter of an hour"]
fn soak_a_hundred_thousand_wait_ten_minutes_and_somebody_dies_every_twenty_seconds() -> Result<()> {
    let options = PipelineOptions {
        wait_max: "11m",
        more_wait: "park_after = \"5s\"\ntiers = [\"10s\", \"1m\", \"3m\"]\nmax_events = 5000\n",
        ..PipelineOptions::new(CLICKS)
    };
    let clicks = ClicksParams {
        seed: 12,
        count: 100_000,
        per_second: 2_000.try_into()?,
        late: Share::per_thousand(980),
        late_by_ms: 600_000,
        orphans: Share::per_thousand(20),
        ..ClicksParams::default()
    };
    let rests = std::iter::repeat_n(Duration::from_secs(20), 33);
    killed_while_they_wait(options, clicks, rests)
}

/// One of two dispatchers dies after each of these rests, and comes back at once.
fn killed_while_they_wait(
    options: PipelineOptions,
    clicks: ClicksParams,
    rests: impl Iterator<Item = Duration>,
) -> Result<()> {
    let options = PipelineOptions {
        is_cluster: true,
        ..options
    };
    let mut scene = Scene::open(&options, clicks)?;
    let others = Role::EACH.map(|role| Instance(role, 0));
    scene.pipeline.start_all(&others, READY_WITHIN)?;
    let load = scene.load()?;
    scene.pipeline.start_ready(DISPATCHERS[1], READY_WITHIN)?;
    for (rest, victim) in rests.zip(DISPATCHERS.into_iter().cycle()) {
        pause(rest);
        scene.pipeline.kill9(victim)?;
        scene.pipeline.start(victim)?;
    }
    let tally = load.finish()?;
    scene.drained(&tally)?;
    let checked = scene.check()?;
    let parked = parked(&scene.checker)?;
    eprintln!("parking: {checked:?}, parked by topic {parked:?}");
    ensure!(
        parked.len() == 3 && parked.iter().all(|(_, records)| *records > 100),
        "{parked:?}"
    );
    scene.verified(&checked, &tally)
}

const WISHES: Join = Join {
    name: "wishes",
    foreign: Stream::of("wishes", "/key"),
    primary: Stream::of("gifts", "/key"),
    order_by: None,
};

/// Events that wait, some of them for the same key.
const WISHED: u64 = 3_000;
const KEYS: u64 = 1_000;
/// From a partner's arrival to the rows.
const WOKEN_WITHIN: Duration = Duration::from_secs(15);

#[test]
#[ignore = "needs real servers: ./test runs it"]
fn a_partner_that_arrives_wakes_what_is_parked() -> Result<()> {
    let servers = Servers::start()?;
    servers.create_topics(&WISHES, 3)?;
    let mut pipeline = servers.pipeline(&PipelineOptions {
        wait_max: "1h",
        more_wait: LONG_TIERS,
        ..PipelineOptions::new(WISHES)
    })?;
    pipeline.start_ready(ALL, READY_WITHIN)?;
    let checker = servers.checker(WISHES);
    let mut progress = servers.progress(WISHES)?;
    let sender = Sender::open(checker.settings())?;
    let send = |topic: &str, number: u64, key: u64| -> Result<()> {
        let value = format!(r#"{{"id":"{topic} {number}","key":"k{key}"}}"#);
        Ok(sender.send(topic, None, None, Some(value.as_bytes()))?)
    };
    for number in 0..WISHED {
        send("wishes", number, number % KEYS)?;
    }
    sender.flush(FLUSH_WITHIN)?;
    // Parked, they hold the position of the foreign topic back no more.
    progress.wait_committed(DONE_WITHIN)?;
    let verified = pipeline.rtf("verify", &["--json"])?.done()?;
    ensure!(
        verified["parked"] == WISHED && verified["lost"] == 0,
        "{verified}"
    );
    let found = pipeline.rtf("lookup", &["wishes 7", "--json"])?;
    let (code, found) = (found.code(), found.json()?);
    ensure!(code == 1 && found["state"] == "parked", "{found}");
    let waits = (&found["tier"], &found["key"], &found["source"]["topic"]);
    ensure!(
        waits == (&json!("wishes.retry.30m"), &json!("k7"), &json!("wishes")),
        "{found}"
    );
    let absent = pipeline.rtf("lookup", &["nobody", "--json"])?.json()?;
    ensure!(
        absent["state"] == "unresolved" && absent["note"].is_null(),
        "{absent}"
    );

    // One that has just begun knows what was parked before.
    pipeline.kill9(ALL)?;
    pipeline.start_ready(ALL, READY_WITHIN)?;
    wait_until("the dispatcher to know what is parked", DONE_WITHIN, || {
        let metrics = http::get(&format!("{}/metrics", pipeline.health(ALL)))
            .ok()?
            .into_body();
        let line = metrics
            .lines()
            .find(|line| line.starts_with("rtf_dispatcher_parked_keys"))?;
        let keys = line.rsplit(' ').next()?.parse::<f64>().ok()?;
        (keys >= WISHED as f64).then_some(())
    })?;
    // A joiner that has just begun was asked for nothing: so one is asked for here.
    let begun = Instant::now();
    for key in 0..KEYS {
        send("gifts", key, key)?;
    }
    sender.flush(FLUSH_WITHIN)?;
    progress.wait_rows(WISHED, WOKEN_WITHIN)?;
    eprintln!(
        "{WISHED} parked events were joined {:?} after their partners were sent",
        begun.elapsed()
    );
    let expected = (0..WISHED).map(|number| Fate::Joined {
        id: format!("wishes {number}"),
        key: format!("k{}", number % KEYS),
        primary: Some(format!("gifts {}", number % KEYS)),
    });
    checker.check(expected)?;
    let verified = pipeline.rtf("verify", &["--json"])?.done()?;
    ensure!(
        verified["joined"] == WISHED && verified["waiting"] == 0,
        "{verified}"
    );
    pipeline.stop(ALL)
}

/// Records of each retry topic.
fn parked(checker: &rtf_testing::Checker) -> Result<Vec<(String, u64)>> {
    let cluster = Cluster::connect(checker.settings())?;
    let prefix = format!("{}.retry.", checker.join().name);
    let topics = cluster.topics(&prefix)?.into_iter();
    topics
        .map(|topic| {
            let info = cluster.topic(&topic)?.context("it was there")?;
            let ends = (0..info.partitions).map(|p| Ok(cluster.offsets(&topic, p)?.1));
            let records: Result<u64> = ends.sum();
            Ok((topic, records?))
        })
        .collect()
}
