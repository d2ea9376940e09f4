//! One event's way through all roles is one trace, though they are processes that tell each other nothing of it; and a collector that is away, or
//! takes nothing, costs no row.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rtf_synth::{CLICKS, ClicksParams, Expected, Share};
use rtf_testing::{
    Collector, Instance, PipelineOptions, Role, Scene, Span, free_port, http, wait_until,
};
use rtf_traces::Sampler;

const READY_WITHIN: Duration = Duration::from_secs(60);
const ARRIVED_WITHIN: Duration = Duration::from_secs(60);
/// A process whose collector takes nothing stops within this all the same.
const STOPPED_WITHIN: Duration = Duration::from_secs(15);
const SAMPLE: f64 = 0.1;
const ID: &str = "rtf.event.id";
const OUTCOME: &str = "rtf.outcome";

fn scene(endpoint: &str, sample: f64, is_cluster: bool) -> Result<Scene> {
    let options = PipelineOptions {
        is_cluster,
        wait_max: "12s",
        more_wait: "park_after = \"1s\"\ntiers = [\"6s\"]\n",
        more: format!("[telemetry.traces]\nendpoint = \"{endpoint}\"\nsample = {sample:?}\n"),
        ..PipelineOptions::new(CLICKS)
    };
    let clicks = ClicksParams {
        count: 4_000,
        per_second: 1_000.try_into()?,
        late: Share::per_thousand(100),
        late_by_ms: 4_000,
        orphans: Share::per_thousand(50),
        malformed: Share::per_thousand(50),
        ..ClicksParams::default()
    };
    Scene::open(&options, clicks)
}

#[test]
#[ignore = "needs real servers: ./test runs it"]
fn an_events_spans_of_all_processes_are_one_trace() -> Result<()> {
    let collector = Collector::start()?;
    let mut scene = scene(&collector.endpoint(), SAMPLE, true)?;
    let all = Role::EACH.map(|role| Instance(role, 0));
    scene.pipeline.start_all(&all, READY_WITHIN)?;
    let tally = scene.load()?.finish()?;
    scene.drained(&tally)?;
    let checked = scene.check()?;

    let wanted = wanted(&scene)?;
    wait_until("all spans have arrived", ARRIVED_WITHIN, || {
        let traces = collector.traces();
        let told = traces
            .values()
            .map(|spans| (spans[0].attributes[ID].as_str(), names(spans)));
        let told: BTreeMap<_, _> = told.collect();
        let mut wanted = wanted.iter();
        let is_whole = wanted.all(|(id, outcome)| {
            let names = told.get(id.as_str());
            names.is_some_and(|names| names.is_superset(&steps(outcome)))
        });
        is_whole.then_some(())
    })?;
    for instance in all {
        scene.pipeline.stop(instance)?;
    }
    let traces = collector.traces();
    eprintln!("{} traces of {checked:?}", traces.len());
    let sampler = Sampler::new(CLICKS.name, SAMPLE);
    for (trace, spans) in &traces {
        let id = &spans[0].attributes[ID];
        let derived = sampler.trace(id.as_bytes()).map(|trace| trace.to_string());
        ensure!(
            derived.as_ref() == Some(trace),
            "{id} has the trace {trace}"
        );
        is_right(spans).with_context(|| format!("trace {trace}: {spans:#?}"))?;
    }
    let has = |fits: fn(&Span) -> bool| traces.values().flatten().any(fits);
    ensure!(
        has(|span| span.notes.iter().any(|note| note == "tried again")),
        "nothing was tried again"
    );
    ensure!(
        has(|span| span.attributes[OUTCOME] == "parked"),
        "nothing was parked"
    );
    Ok(())
}

/// Ids of events that are traced, with how they end. Malformed ones have ids that only Kafka knows.
fn wanted(scene: &Scene) -> Result<BTreeMap<String, &'static str>> {
    let sampler = Sampler::new(CLICKS.name, SAMPLE);
    let ended = scene
        .clicks
        .expected()
        .filter_map(|expected| match expected {
            Expected::Joined { id, .. } => Some((id, "joined")),
            Expected::Unjoinable { id, .. } => Some((id, "unjoinable")),
            Expected::Malformed { .. } => None,
        });
    let traced = ended.filter(|(id, _)| sampler.trace(id.as_bytes()).is_some());
    let wanted: BTreeMap<_, _> = traced.collect();
    ensure!(wanted.len() > 200, "only {} are traced", wanted.len());
    Ok(wanted)
}

/// The spans that there are at the least, of what ended so.
fn steps(outcome: &str) -> BTreeSet<&'static str> {
    let steps: &[&str] = match outcome {
        "joined" => &["event", "dispatch", "join", "register", "publish"],
        "unjoinable" => &[
            "event",
            "dispatch",
            "join",
            "register",
            "publish dead letter",
        ],
        _ => &["event", "dispatch", "register", "publish dead letter"],
    };
    steps.iter().copied().collect()
}

fn names(spans: &[Span]) -> BTreeSet<&str> {
    spans.iter().map(|span| span.name.as_str()).collect()
}

fn is_right(spans: &[Span]) -> Result<()> {
    let named = |name: &'static str| spans.iter().filter(move |span| span.name == name);
    let (root, more) = {
        let mut roots = named("event");
        (roots.next().context("no root")?, roots.count())
    };
    ensure!(more == 0, "{more} roots more");
    let outcome = root.attributes[OUTCOME].as_str();
    ensure!(
        names(spans).is_superset(&steps(outcome)),
        "steps are missing"
    );
    for span in spans {
        let service = match span.name.as_str() {
            "event" | "dispatch" => "rtf-dispatcher",
            "join" => "rtf-joiner",
            "register" => "rtf-registry",
            _ => "rtf-publisher",
        };
        ensure!(
            span.service == service,
            "{} is of {}",
            span.name,
            span.service
        );
        let parent = if span.name == "event" {
            ""
        } else {
            root.id.as_str()
        };
        ensure!(span.parent == parent, "{} has another parent", span.name);
        ensure!(span.attributes[ID] == root.attributes[ID], "another event");
        ensure!(span.began <= span.ended, "{} ends early", span.name);
        // What is looked for and read again later is no part of the way.
        ensure!(root.began <= span.ended, "{} comes early", span.name);
    }
    let source = ["messaging.destination.name", "messaging.kafka.offset"];
    ensure!(
        source.iter().all(|key| root.attributes.contains_key(*key)),
        "nobody says where it stood"
    );
    let registered = named("register").find(|span| span.attributes[OUTCOME] == "registered");
    let registered = registered.context("it was not registered")?;
    let published = spans.iter().find(|span| span.name.starts_with("publish"));
    let published = published.context("it was not published")?;
    for key in ["rtf.log.partition", "rtf.log.offset"] {
        ensure!(
            registered.attributes[key] == published.attributes[key],
            "another {key}"
        );
    }
    ensure!(
        registered.began <= published.ended,
        "published before it was registered"
    );
    Ok(())
}

#[test]
#[ignore = "needs real servers: ./test runs it"]
fn without_a_collector_all_rows_come() -> Result<()> {
    // Nobody listens there.
    let away = format!("http://127.0.0.1:{}", free_port()?);
    all_rows_come(&away)
}

#[test]
#[ignore = "needs real servers: ./test runs it"]
fn though_the_collector_takes_nothing_all_rows_come() -> Result<()> {
    // Connections are made, and never looked after.
    let deaf = TcpListener::bind("127.0.0.1:0")?;
    all_rows_come(&format!("http://{}", deaf.local_addr()?))
}

fn all_rows_come(endpoint: &str) -> Result<()> {
    let mut scene = scene(endpoint, 1.0, false)?;
    let all = Instance(Role::All, 0);
    scene.pipeline.start_ready(all, READY_WITHIN)?;
    let tally = scene.load()?.finish()?;
    scene.drained(&tally)?;
    let checked = scene.check()?;
    scene.verified(&checked, &tally)?;
    let url = scene.pipeline.health(all);
    let dropped = wait_until("spans are dropped", ARRIVED_WITHIN, || {
        let label = "outcome=\"dropped\"";
        let dropped = http::metric(&url, "rtf_trace_spans_total", label).ok()?;
        (dropped > 0.0).then_some(dropped)
    })?;
    let begun = Instant::now();
    scene.pipeline.stop(all)?;
    let took = begun.elapsed();
    eprintln!("{dropped} spans were dropped; stopped within {took:?}");
    ensure!(took < STOPPED_WITHIN, "it took {took:?} to stop");
    let log = scene.pipeline.process(all)?.log()?;
    let warned = log.matches("spans were dropped").count();
    ensure!((1..=3).contains(&warned), "warned {warned} times");
    Ok(())
}
