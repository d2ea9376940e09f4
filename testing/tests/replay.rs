//! The foreign topic is read again, from everywhere, by every way there is, and the output does not change.

use anyhow::{Context, Result, ensure};
use chrono::{DateTime, Utc};
use rtf_kafka::Cluster;
use rtf_proto::naming;
use rtf_synth::{CLICKS, ClicksParams, Share, Tally};
use rtf_testing::{Instance, PipelineOptions, Role, Rows, Scene, wait_until};
use serde_json::Value;
use std::time::{Duration, SystemTime};

const PAIRS: u64 = 40_000;
const PAIRS_PER_SECOND: u32 = 1_500;
const ALL: Instance = Instance(Role::All, 0);
const GROUP_TOOL: &str = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
const WITHIN: Duration = Duration::from_secs(60);
const DRAINED_WITHIN: Duration = Duration::from_secs(180);
const USAGE: i32 = 64;

#[test]
#[ignore = "needs real servers: ./test runs it"]
fn a_replay_changes_nothing_whatever_it_begins_with_and_whenever() -> Result<()> {
    let options = PipelineOptions {
        wait_max: "10s",
        ..PipelineOptions::new(CLICKS)
    };
    let clicks = ClicksParams {
        count: PAIRS,
        per_second: PAIRS_PER_SECOND.try_into()?,
        late: Share::per_thousand(20),
        ..ClicksParams::default()
    };
    let mut scene = Scene::open(&options, clicks)?;
    let begun = SystemTime::now();
    let tally = in_the_middle_of_traffic(&mut scene)?;
    let middle = begun + begun.elapsed()? / 3;
    scene.drained(&tally)?;
    let checked = scene.check()?;
    eprintln!("after replays under way: {checked:?}");
    scene.verified(&checked, &tally)?;

    let rest = Rest::of(&mut scene)?;
    offline_is_refused_while_it_runs(&mut scene, &rest)?;
    online(&mut scene, &rest)?;
    scene.pipeline.stop(ALL)?;
    what_cannot_be_meant_is_refused(&scene)?;
    for arguments in [
        vec!["--from-offset".into(), "0:100,2:0".into()],
        vec!["--to-datetime".into(), rfc3339(middle)],
        vec!["--from-file".into(), exported(&scene)?],
        vec!["--from-file".into(), exported_by_kafka(&scene)?],
        vec![
            "--to-earliest".into(),
            "--partitions".into(),
            "0,2-3".into(),
        ],
    ] {
        offline(&mut scene, &rest, &arguments)?;
    }
    scene.verified(&checked, &tally)
}

/// What must not change.
struct Rest {
    rows: Rows,
    resolved: u64,
}

impl Rest {
    fn of(scene: &mut Scene) -> Result<Self> {
        Ok(Self {
            rows: scene.checker.rows()?,
            resolved: scene.progress.resolved()?,
        })
    }

    fn is_kept(&self, scene: &mut Scene) -> Result<()> {
        let resolved = scene.progress.resolved()?;
        ensure!(
            resolved == self.resolved,
            "the replay resolved {resolved} events"
        );
        scene.check()?;
        ensure!(
            scene.checker.rows()? == self.rows,
            "the replay changed rows in Redis"
        );
        Ok(())
    }
}

fn replay(scene: &Scene, arguments: &[&str]) -> Result<Value> {
    let finished = scene
        .pipeline
        .rtf("replay", &[arguments, &["--json"]].concat())?;
    finished.done().with_context(|| format!("{arguments:?}"))
}

fn refused(scene: &Scene, arguments: &[&str], code: i32, words: &str) -> Result<()> {
    let finished = scene.pipeline.rtf("replay", arguments)?;
    let output = &finished.output;
    ensure!(
        finished.code() == code,
        "{arguments:?} ended with {}: {output}",
        finished.code()
    );
    ensure!(output.contains(words), "no `{words}` in: {output}");
    Ok(())
}

fn committed(scene: &Scene) -> Result<Vec<u64>> {
    let cluster = Cluster::connect(scene.checker.settings())?;
    let committed =
        cluster.committed(&naming::dispatcher_group(CLICKS.name), CLICKS.foreign.topic)?;
    let offset = |(_, offset): (u32, Option<u64>)| offset.unwrap_or_default();
    Ok(committed.into_iter().map(offset).collect())
}

/// Three times back to the beginning while events come; during the third all is killed.
fn in_the_middle_of_traffic(scene: &mut Scene) -> Result<Tally> {
    scene.pipeline.start_ready(ALL, WITHIN)?;
    let load = scene.load()?;
    for part in [5, 3] {
        scene.progress.wait_more_than(PAIRS / part)?;
        let back = ["--to-earliest", "--running", "--execute", "--watch"];
        let replayed = replay(scene, &back)?;
        let found = replayed["caught_up"]["tally"]["already_resolved"].as_u64();
        eprintln!("{replayed}");
        ensure!(found >= replayed["records"].as_u64(), "{replayed}");
    }
    let shift = ["--shift-by", "-4000", "--running", "--execute"];
    let replayed = replay(scene, &shift)?;
    ensure!(replayed["executed"] == true, "{replayed}");
    scene.pipeline.kill9(ALL)?;
    scene.pipeline.start(ALL)?;
    ensure!(!load.is_finished(), "the load was too short");
    let tally = load.finish()?;
    scene.pipeline.wait_ready(ALL, WITHIN)?;
    Ok(tally)
}

fn offline_is_refused_while_it_runs(scene: &mut Scene, rest: &Rest) -> Result<()> {
    let before = committed(scene)?;
    refused(scene, &["--to-earliest"], 1, "--running")?;
    refused(scene, &["--to-earliest", "--execute"], 1, "--running")?;
    ensure!(
        committed(scene)? == before,
        "a refused replay moved positions"
    );
    rest.is_kept(scene)
}

/// All of it, with nothing else going on.
fn online(scene: &mut Scene, rest: &Rest) -> Result<()> {
    let dry = replay(scene, &["--to-earliest", "--running"])?;
    ensure!(dry["executed"] == false, "{dry}");
    let logged = scene.progress.logged_events()?;
    let all = ["replay", "--to-earliest", "--execute", "--watch", "--json"];
    let replayed = scene.pipeline.rtf("dispatcher", &all)?.done()?;
    let records = replayed["records"].as_u64().context("records")?;
    let tally = &replayed["caught_up"]["tally"];
    eprintln!("{replayed}");
    ensure!(
        tally["already_resolved"] == records && tally["joined"] == 0,
        "{replayed}"
    );
    ensure!(
        scene.progress.logged_events()? == logged,
        "it was found resolved, and appended again"
    );
    rest.is_kept(scene)
}

fn what_cannot_be_meant_is_refused(scene: &Scene) -> Result<()> {
    refused(scene, &["--to-latest"], USAGE, "would skip events")?;
    refused(scene, &["--shift-by", "5"], USAGE, "only goes back")?;
    refused(scene, &["--from-offset", "9:0"], USAGE, "has no partitions")?;
    refused(scene, &["--to-datetime", "yesterday"], USAGE, "RFC 3339")?;
    let nothing: [&str; 0] = [];
    refused(scene, &nothing, USAGE, "--from-offset")
}

/// The positions are set, seen by Kafka's own eyes, and gone through once more. Going forward from there is refused.
fn offline(scene: &mut Scene, rest: &Rest, arguments: &[String]) -> Result<()> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let before = committed(scene)?;
    // A member that was stopped has left by now; one that was killed is missed after its session.
    let dry = wait_until("the group is empty", WITHIN, || {
        replay(scene, &arguments).ok()
    })?;
    ensure!(
        dry["executed"] == false && committed(scene)? == before,
        "{dry}"
    );
    let records = dry["records"].as_u64().context("records")?;
    ensure!(records > 0 && records < before.iter().sum(), "{dry}");

    let done = replay(scene, &[arguments.as_slice(), &["--execute"]].concat())?;
    let after = committed(scene)?;
    let moved: u64 = before
        .iter()
        .zip(&after)
        .map(|(before, after)| before - after)
        .sum();
    ensure!(
        done["executed"] == true && moved == records,
        "{done}: {before:?} {after:?}"
    );
    let (partition, first) = (0..)
        .zip(&after)
        .find(|(p, after)| before[*p] > **after)
        .context("one moved")?;
    let forward = format!("{partition}:{}", first + 1);
    refused(
        scene,
        &["--from-offset", &forward, "--execute"],
        USAGE,
        "would skip events",
    )?;
    eprintln!("{arguments:?}: {records} records");

    let logged = scene.progress.logged_events()?;
    scene.pipeline.start_ready(ALL, WITHIN)?;
    scene.progress.wait_committed(DRAINED_WITHIN)?;
    scene.pipeline.stop(ALL)?;
    ensure!(
        scene.progress.logged_events()? == logged,
        "it was found resolved, and appended again"
    );
    rest.is_kept(scene)
}

fn rfc3339(time: SystemTime) -> String {
    DateTime::<Utc>::from(time).to_rfc3339()
}

/// A file that `rtf replay` wrote.
fn exported(scene: &Scene) -> Result<String> {
    let exported = || {
        let export = ["--shift-by", "-50", "--export"];
        let exported = scene.pipeline.rtf("replay", &export).ok()?;
        (exported.code() == 0).then_some(exported.output)
    };
    written(
        scene,
        "ours.csv",
        &wait_until("an export", WITHIN, exported)?,
    )
}

/// A file that Kafka's own tool wrote.
fn exported_by_kafka(scene: &Scene) -> Result<String> {
    let group = naming::dispatcher_group(CLICKS.name);
    let arguments = [
        ["--group", &group, "--topic", CLICKS.foreign.topic].as_slice(),
        &[
            "--reset-offsets",
            "--to-offset",
            "70",
            "--dry-run",
            "--export",
        ],
    ]
    .concat();
    let csv = scene.servers.kafka.tool(GROUP_TOOL, &arguments, "")?;
    written(scene, "kafkas.csv", &csv)
}

fn written(scene: &Scene, name: &str, text: &str) -> Result<String> {
    let path = scene.pipeline.folder().join(name);
    std::fs::write(&path, text)?;
    Ok(path.display().to_string())
}
