//! Disk: full, failing, damaged, gone, below the second registry and the second joiner.

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use rand::Rng;
use rtf_testing::{Instance, Pipeline, Role};

use crate::isolation::command;
use crate::kind::{Begun, Kind, Need, Wanted};
use crate::stage::{Stage, WITH_BAD_DISK};

const FULL: Duration = Duration::from_secs(5);
const BALLAST_BLOCK: usize = 64 * 1024;

pub(crate) const KINDS: &[Kind] = &[
    Kind {
        name: "disk.full",
        does: "the disk (a tmpfs) of a registry and a joiner is full",
        heals: "room again after 5 s",
        needs: Need::Namespaces,
        hold: FULL,
        wanted: Wanted::Measured,
        begin: fill,
    },
    Kind {
        name: "disk.eio",
        does: "what a registry or a joiner reads, writes or syncs in its directory fails with EIO",
        heals: "it works again after 5 s",
        needs: Need::Compiler,
        hold: FULL,
        wanted: Wanted::Measured,
        begin: fail,
    },
    Kind {
        name: "disk.damage.registry",
        does: "a registry is killed, and bytes of its files are changed",
        heals: "started again: it makes its view anew",
        needs: Need::Nothing,
        hold: Duration::ZERO,
        wanted: Wanted::Measured,
        begin: |stage| damage(stage, Instance(Role::Registry, 1)),
    },
    Kind {
        name: "disk.damage.joiner",
        does: "a joiner is killed, and bytes of its files are changed",
        heals: "started again: it reads the topic anew",
        needs: Need::Nothing,
        hold: Duration::ZERO,
        wanted: Wanted::Measured,
        begin: |stage| damage(stage, Instance(Role::Joiner, 1)),
    },
    Kind {
        name: "disk.wipe.registry",
        does: "a registry is killed, and its directory is deleted",
        heals: "started again: it reads the log anew",
        needs: Need::Nothing,
        hold: Duration::ZERO,
        wanted: Wanted::Measured,
        begin: |stage| wipe(stage, Instance(Role::Registry, 0)),
    },
    Kind {
        name: "disk.wipe.joiner",
        does: "a joiner is killed, and its directory is deleted",
        heals: "started again: it reads the topic anew",
        needs: Need::Nothing,
        hold: Duration::ZERO,
        wanted: Wanted::Measured,
        begin: |stage| wipe(stage, Instance(Role::Joiner, 0)),
    },
];

/// Where the second registry and joiner have their files.
fn data(stage: &Stage, Instance(role, number): Instance) -> PathBuf {
    let small = stage.small_disk();
    if number == 1 && small.is_dir() {
        return small.join(role.command());
    }
    match role {
        Role::Registry => stage.pipeline.registry_data(number),
        _ => stage.pipeline.joiner_data(number),
    }
}

fn fill(stage: &mut Stage) -> Result<Begun> {
    let ballast = stage.small_disk().join("ballast");
    let mut file = fs::File::create(&ballast)?;
    let block = vec![1; BALLAST_BLOCK];
    // To the last byte: until even one does not fit any more.
    for block in [&block[..], &block[..1]] {
        while file.write_all(block).is_ok() {}
    }
    Begun::new("registry-1 and joiner-1", move |_| {
        Ok(fs::remove_file(&ballast)?)
    })
}

/// Where the library lies, and the file whose presence switches a disk off.
fn library(folder: &Path) -> PathBuf {
    folder.join("eio.so")
}

fn switch(folder: &Path, instance: Instance) -> PathBuf {
    folder.join(format!("eio-{instance}"))
}

/// Builds the library that fails calls, and has the two processes load it.
pub(crate) fn preload(pipeline: &mut Pipeline) -> Result<()> {
    let folder = pipeline.folder().to_owned();
    let source = folder.join("eio.c");
    fs::write(&source, include_str!("eio.c"))?;
    let library = library(&folder);
    let text = |path: &Path| path.to_str().map(str::to_owned).context("a path of text");
    let (source, library) = (text(&source)?, text(&library)?);
    command(&[
        "cc", "-shared", "-fPIC", "-O2", "-o", &library, &source, "-ldl",
    ])?;
    for instance in WITH_BAD_DISK {
        let small = folder.join("small-disk");
        let role = instance.0.command();
        let data = match small.is_dir() {
            true => small.join(role),
            false => folder.join(format!("{role}-{}", instance.1)),
        };
        pipeline.set_env(instance, "LD_PRELOAD", &library);
        pipeline.set_env(instance, "RTF_EIO_DIR", &text(&data)?);
        pipeline.set_env(
            instance,
            "RTF_EIO_SWITCH",
            &text(&switch(&folder, instance))?,
        );
    }
    Ok(())
}

fn fail(stage: &mut Stage) -> Result<Begun> {
    let instance = stage.pick(&WITH_BAD_DISK);
    let switch = switch(stage.pipeline.folder(), instance);
    fs::write(&switch, "")?;
    Begun::new(instance, move |_| Ok(fs::remove_file(&switch)?))
}

fn wipe(stage: &mut Stage, instance: Instance) -> Result<Begun> {
    stage.pipeline.kill9(instance)?;
    let data = data(stage, instance);
    fs::remove_dir_all(&data).with_context(|| format!("cannot delete {}", data.display()))?;
    stage.pipeline.start(instance)?;
    Begun::and_over(instance)
}

fn damage(stage: &mut Stage, instance: Instance) -> Result<Begun> {
    stage.pipeline.kill9(instance)?;
    let data = data(stage, instance);
    let mut files = Vec::new();
    list(&data, &mut files)?;
    files.sort();
    for file in files {
        flip(stage, &file)?;
    }
    stage.pipeline.start(instance)?;
    Begun::and_over(instance)
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            list(&entry.path(), files)?;
        } else if entry.metadata()?.len() > 0 {
            files.push(entry.path());
        }
    }
    Ok(())
}

/// Changes a byte of a file; of every other file, so that what fits together does so no more.
fn flip(stage: &mut Stage, path: &Path) -> Result<()> {
    if stage.rng.random_bool(0.5) {
        return Ok(());
    }
    let mut file = fs::File::options().read(true).write(true).open(path)?;
    let at = stage.rng.random_range(0..file.metadata()?.len());
    let mut byte = [0];
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(&mut byte)?;
    file.seek(SeekFrom::Start(at))?;
    file.write_all(&[byte[0] ^ 0x55])?;
    Ok(())
}
