//! Clock: a process's clock jumps by an hour (libfaketime), while it runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use rtf_testing::{Instance, Pipeline};

use crate::kind::{Begun, Kind, Need, Wanted};
use crate::stage::{Stage, WITH_BAD_CLOCK};

const WRONG: Duration = Duration::from_secs(6);
const RIGHT: &str = "+0";

const fn kind(
    name: &'static str,
    does: &'static str,
    begin: fn(&mut Stage) -> Result<Begun>,
) -> Kind {
    Kind {
        name,
        does,
        heals: "it jumps back after 6 s",
        needs: Need::FakeTime,
        hold: WRONG,
        wanted: Wanted::Slowest(Duration::from_secs(2)),
        begin,
    }
}

pub(crate) const KINDS: &[Kind] = &[
    kind(
        "clock.ahead",
        "the clock of a process jumps an hour ahead",
        |stage| jump(stage, "+1h"),
    ),
    kind(
        "clock.behind",
        "the clock of a process jumps an hour back",
        |stage| jump(stage, "-1h"),
    ),
];

fn file(folder: &Path, instance: Instance) -> PathBuf {
    folder.join(format!("clock-{instance}"))
}

/// Has the processes ask a file what time it is.
pub(crate) fn preload(pipeline: &mut Pipeline, library: &str) -> Result<()> {
    let folder = pipeline.folder().to_owned();
    for instance in WITH_BAD_CLOCK {
        let file = file(&folder, instance);
        fs::write(&file, RIGHT)?;
        let path = file.to_str().context("a path of text")?;
        for (name, value) in [
            ("LD_PRELOAD", library),
            ("FAKETIME_TIMESTAMP_FILE", path),
            ("FAKETIME_CACHE_DURATION", "1"),
            // A machine's clock is set; the time since its start goes on.
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ] {
            pipeline.set_env(instance, name, value);
        }
    }
    Ok(())
}

fn jump(stage: &mut Stage, by: &'static str) -> Result<Begun> {
    let instance = stage.pick(&WITH_BAD_CLOCK);
    let file = file(stage.pipeline.folder(), instance);
    fs::write(&file, by)?;
    Begun::new(instance, move |_| Ok(fs::write(&file, RIGHT)?))
}
