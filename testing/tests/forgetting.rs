//! What the registry forgets is never joined a second time: a horizon of seconds passes, then everything is read again.

use anyhow::{Result, ensure};
use rtf_synth::{CLICKS, Clicks, ClicksParams, Share, Tally};
use rtf_testing::{
    Instance, Load, Pipeline, PipelineOptions, Progress, Role, Servers, http, wait_until,
};
use std::time::Duration;

const PAIRS: u64 = 3000;
const PAIRS_PER_SECOND: u32 = 1000;
/// Buckets of a second; everything is forgotten about half a minute after it was registered.
const HORIZON: &str = "12s";
const ALL: Instance = Instance(Role::All, 0);
const READY_WITHIN: Duration = Duration::from_secs(60);
const DRAINED_WITHIN: Duration = Duration::from_secs(90);
const FORGOTTEN_WITHIN: Duration = Duration::from_secs(90);
const RESET_TOOL: &str = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";

#[test]
#[ignore = "needs real servers: ./test runs it"]
fn what_is_forgotten_is_not_joined_again() -> Result<()> {
    let servers = Servers::start()?;
    servers.create_topics(&CLICKS, 4)?;
    let checker = servers.checker(CLICKS);
    let mut progress = servers.progress(CLICKS)?;
    let mut pipeline = servers.pipeline(&PipelineOptions {
        wait_max: "3s",
        horizon: HORIZON,
        ..PipelineOptions::new(CLICKS)
    })?;
    let clicks = Clicks::new(ClicksParams {
        count: PAIRS,
        per_second: PAIRS_PER_SECOND.try_into()?,
        late: Share::NONE,
        ..ClicksParams::default()
    });
    pipeline.start_ready(ALL, READY_WITHIN)?;
    let load = Load::start(checker.settings(), CLICKS, clicks.events())?;
    let tally = load.finish()?;
    drained(&mut progress, &tally)?;
    checker.check(clicks.expected())?;
    let rows = checker.rows()?;
    let logged = progress.logged_events()?;

    let url = pipeline.health(ALL);
    wait_until("everything is forgotten", FORGOTTEN_WITHIN, || {
        let ids = http::metric(&url, "rtf_registry_ids", "").ok()?;
        (ids == 0.0).then_some(())
    })?;
    let forgotten = http::metric(&url, "rtf_registry_forgotten_total", "")?;
    ensure!(
        forgotten as u64 == tally.accepted(),
        "{forgotten} ids forgotten, {} were registered",
        tally.accepted()
    );

    let log = pipeline.process(ALL)?.log()?;
    ensure!(log.contains("a bucket is sealed"), "no bucket was sealed");
    ensure!(
        log.contains("forgotten buckets are removed"),
        "nothing was removed from disk"
    );

    // Everything once more: recognised by its position, though no id is remembered.
    pipeline.stop(ALL)?;
    let reset = ["--reset-offsets", "--to-earliest", "--execute"];
    let of = [
        "--group",
        "clicks.dispatcher",
        "--topic",
        CLICKS.foreign.topic,
    ];
    servers
        .kafka
        .tool(RESET_TOOL, &[reset.as_slice(), &of].concat(), "")?;
    pipeline.start_ready(ALL, READY_WITHIN)?;
    progress.wait_committed(DRAINED_WITHIN)?;
    let too_old = http::metric(&url, "rtf_dispatcher_events_total", "too_old")?;
    ensure!(
        too_old as u64 == tally.foreign_records(),
        "{too_old} too old, of {} records",
        tally.foreign_records()
    );
    ensure!(
        progress.logged_events()? == logged,
        "the log has new events"
    );
    ensure!(checker.rows()? == rows, "rows have changed");

    // The same events sent again, at new offsets, after their time: new events, each with a row of its own.
    let again = Load::start(checker.settings(), CLICKS, clicks.events())?.finish()?;
    progress.wait_rows(tally.joins + again.joins, DRAINED_WITHIN)?;
    progress.wait_committed(DRAINED_WITHIN)?;
    verified(&pipeline)?;
    let rows = checker.rows()?;

    // A registry that starts from nothing forgets alike, and Redis is filled again from what the log still has.
    pipeline.kill9(ALL)?;
    pipeline.delete_registry_data(0)?;
    servers.redis.flushall()?;
    pipeline.start_ready(ALL, READY_WITHIN)?;
    progress.wait_rows(tally.joins + again.joins, DRAINED_WITHIN)?;
    ensure!(checker.rows()? == rows, "other rows were filled in");
    wait_until("the rebuilt registry forgets as well", READY_WITHIN, || {
        let ids = http::metric(&url, "rtf_registry_ids", "").ok()?;
        (ids == 0.0).then_some(())
    })?;
    Ok(())
}

/// The product's own proof knows what was forgotten.
fn verified(pipeline: &Pipeline) -> Result<()> {
    let verified = pipeline.rtf("verify", &["--json"])?;
    ensure!(verified.code() == 0, "rtf verify: {}", verified.output);
    Ok(())
}

fn drained(progress: &mut Progress, tally: &Tally) -> Result<()> {
    progress.wait_resolved(tally.accepted(), DRAINED_WITHIN)?;
    progress.wait_rows(tally.joins, DRAINED_WITHIN)?;
    progress.wait_committed(DRAINED_WITHIN)
}
