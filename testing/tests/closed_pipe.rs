//! `rtf … | head -1`: whoever has read enough closes the pipe, and that is neither a failure nor a panic.

use std::io::pipe;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rtf_synth::{CLICKS, ClicksParams, Share};
use rtf_testing::{Instance, PipelineOptions, Role, Scene, rtf_binary, temp_folder};

const READY_WITHIN: Duration = Duration::from_secs(60);
const EXAMPLE: &str = "../examples/clicks/rtf.toml";

/// Runs it with nobody who reads what it prints; it must end as it would otherwise.
fn ends_well(words: &[&str], folder: &Path) -> Result<()> {
    let (reader, writer) = pipe()?;
    drop(reader);
    let ended = Command::new(rtf_binary()?)
        .args(words)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(writer)
        .output()?;
    let errors = String::from_utf8_lossy(&ended.stderr);
    ensure!(
        ended.status.success() && !errors.contains("panicked"),
        "rtf {}: {}: {errors}",
        words.join(" "),
        ended.status
    );
    Ok(())
}

#[test]
fn commands_that_need_no_server_do_not_mind() -> Result<()> {
    let folder = temp_folder("closed-pipe")?;
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join(EXAMPLE);
    let example = example.to_str().context("a path that is text")?;
    for words in [
        "config print -c FILE",
        "config check -c FILE",
        "config check --json -c FILE",
        "man",
        "man --dir pages",
        "completions bash",
        "synth clicks --dry-run --count 10000 --fast",
        "--help",
        "--version",
    ] {
        let words = words.replace("FILE", example);
        ends_well(&words.split(' ').collect::<Vec<_>>(), folder.path())?;
    }
    Ok(())
}

#[test]
#[ignore = "needs real servers: ./test runs it"]
fn commands_that_ask_servers_do_not_mind() -> Result<()> {
    let clicks = ClicksParams {
        count: 400,
        per_second: 2_000.try_into()?,
        malformed: Share::per_thousand(50),
        ..ClicksParams::default()
    };
    let mut scene = Scene::open(&PipelineOptions::new(CLICKS), clicks)?;
    let all = Instance(Role::All, 0);
    scene.pipeline.start_ready(all, READY_WITHIN)?;
    let tally = scene.load()?.finish()?;
    scene.drained(&tally)?;
    let config = scene.pipeline.config();
    let config = config.to_str().context("a path that is text")?;
    for words in [
        "status",
        "verify",
        "verify --json",
        "dlq list",
        "dlq list --json",
        "dlq replay --all",
        "registry status",
        "registry digest",
        "registry digest --json",
        "dispatcher status",
        "dispatcher resume",
        "replay --running --to-earliest",
        "tail --no-follow",
    ] {
        let words: Vec<&str> = words.split(' ').chain(["-c", config]).collect();
        ends_well(&words, scene.pipeline.folder())?;
    }
    scene.pipeline.stop(all)
}
