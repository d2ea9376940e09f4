//! A joiner that may keep little in memory: what does not fit lies on disk, and a restart goes on from there.

use anyhow::{Context, Result, ensure};
use rtf_synth::{CLICKS, ClicksParams, Share};
use rtf_testing::{Instance, PipelineOptions, Role, Scene, http, wait_until};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

const PAIRS: u64 = 60_000;
const PAIRS_PER_SECOND: u32 = 6_000;
/// All primaries take about ten times that.
const MEMORY: &str = "2MiB";
/// By then memory has something newer.
const CLICK_AFTER_MS: u32 = 3_000;
const ALL: Instance = Instance(Role::All, 0);
const READY_WITHIN: Duration = Duration::from_secs(90);
/// The store is counted every few seconds.
const TOLD_WITHIN: Duration = Duration::from_secs(20);
const FLUSHED_WITHIN: Duration = Duration::from_secs(60);

#[test]
#[ignore = "needs real servers: ./test runs it"]
fn more_primaries_than_memory_are_joined_and_a_restart_goes_on_where_the_disk_ends() -> Result<()> {
    let clicks = ClicksParams {
        count: PAIRS,
        per_second: PAIRS_PER_SECOND.try_into()?,
        click_after_ms: CLICK_AFTER_MS,
        ..ClicksParams::default()
    };
    let mut scene = Scene::open(&PipelineOptions::new(CLICKS), clicks)?;
    scene.pipeline.set(ALL, "joiner.memory", MEMORY);
    scene.pipeline.start_ready(ALL, READY_WITHIN)?;
    let url = scene.pipeline.health(ALL);
    let metric = |name: &str| http::metric(&url, name, "");
    let load = scene.load()?;
    wait_until("something lies on disk", FLUSHED_WITHIN, || {
        metric("rtf_joiner_disk_events")
            .ok()
            .filter(|events| *events > 5_000.0)
    })?;
    scene.pipeline.kill9(ALL)?;
    scene.pipeline.start_ready(ALL, READY_WITHIN)?;
    let tally = load.finish()?;
    scene.drained(&tally)?;
    let checked = scene.check()?;
    scene.verified(&checked, &tally)?;
    let read = metric("rtf_joiner_records_read_total")?;
    let events = tally.primaries as f64;
    let has = |events: f64| {
        let mut last = 0.0;
        let waited = wait_until("the joiner to know so many events", TOLD_WITHIN, || {
            last = metric("rtf_joiner_events").ok()?;
            (last == events).then_some(())
        });
        waited.with_context(|| format!("{last} of {events} events"))
    };
    has(events)?;
    ensure!(
        metric("rtf_joiner_bytes")? < 6e6,
        "it keeps too much in memory"
    );
    ensure!(
        metric("rtf_joiner_cache_misses_total")? > 0.0,
        "nothing was read from disk"
    );
    ensure!(
        read < events,
        "{read} records read after the first kill, of {events} events"
    );

    // A restart without anything new reads what came since the last flush.
    scene.pipeline.kill9(ALL)?;
    scene.pipeline.start_ready(ALL, READY_WITHIN)?;
    let read = metric("rtf_joiner_records_read_total")?;
    ensure!(
        read < events / 2.0,
        "{read} records were read again, of {events} events"
    );
    has(events)?;
    let checked = scene.replayed(ALL)?;
    scene.verified(&checked, &tally)?;

    // Damaged, it is made anew from the topic.
    scene.pipeline.kill9(ALL)?;
    for segment in segments(&scene)? {
        let bytes = fs::read(&segment)?;
        fs::write(&segment, &bytes[..bytes.len() / 2])?;
    }
    scene.pipeline.start_ready(ALL, READY_WITHIN)?;
    ensure!(
        metric("rtf_joiner_rebuilds_total")? == 1.0,
        "it was not made anew"
    );
    let read = metric("rtf_joiner_records_read_total")?;
    ensure!(
        read >= events,
        "{read} records were read, of {events} events"
    );
    has(events)?;
    let checked = scene.replayed(ALL)?;
    scene.verified(&checked, &tally)
}

/// A wake-up may be lost; here all of them are.
#[test]
#[ignore = "needs real servers: ./test runs it"]
fn what_loses_all_its_wake_ups_is_joined_by_its_retries() -> Result<()> {
    let clicks = ClicksParams {
        count: 5_000,
        per_second: 1_000u32.try_into()?,
        late: Share::per_thousand(500),
        ..ClicksParams::default()
    };
    let mut scene = Scene::open(&PipelineOptions::new(CLICKS), clicks)?;
    scene.pipeline.crash_at(ALL, "joiner-loses-wakeups");
    scene.pipeline.start_ready(ALL, READY_WITHIN)?;
    let tally = scene.load()?.finish()?;
    scene.drained(&tally)?;
    let checked = scene.check()?;
    scene.verified(&checked, &tally)?;
    let url = scene.pipeline.health(ALL);
    let not_found = http::metric(&url, "rtf_joiner_joins_total", "not_found")?;
    ensure!(
        not_found > 1_000.0,
        "only {not_found} look-ups were in vain"
    );
    let woken = http::metric(&url, "rtf_joiner_wakeups_total", "")?;
    ensure!(woken == 0.0, "{woken} keys were woken");
    Ok(())
}

fn segments(scene: &Scene) -> Result<Vec<PathBuf>> {
    let folder = scene.pipeline.folder().join("joiner-0/events");
    let mut segments = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "segment")
        {
            segments.push(path);
        }
    }
    ensure!(!segments.is_empty(), "there are no segments");
    Ok(segments)
}
