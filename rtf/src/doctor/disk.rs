//! Whether the data directories can be written, and have room.

use super::because;
use super::finding::Finding;
use crate::human;
use anyhow::Context;
use rtf_config::Config;
use std::path::Path;

/// Less is too little to go on with.
const LEAST_BYTES: u64 = 256 << 20;
/// Less is soon too little.
const LOW_BYTES: u64 = 2 << 30;
/// The same as a part of the disk.
const LOW_PART: u64 = 20;

/// Looks at both directories, of this machine.
pub fn check(config: &Config) -> Vec<Finding> {
    let directories = [
        ("registry.data", &config.registry.data),
        ("joiner.data", &config.joiner.data),
    ];
    let directories = directories.into_iter();
    directories
        .map(|(key, path)| directory(key, path))
        .collect()
}

fn directory(key: &str, path: &Path) -> Finding {
    match room(path) {
        Ok((free, all)) => judge(key, path, free, all),
        Err(error) => Finding::fail(
            key,
            because(error),
            format!(
                "correct [{}], or its owner and mode",
                key.replace('.', "].")
            ),
        ),
    }
}

/// Free bytes for us, and all, of the disk that a directory is on or will be on.
fn room(path: &Path) -> anyhow::Result<(u64, u64)> {
    let absolute = std::path::absolute(path)?;
    let mut there = absolute.ancestors().filter(|path| path.exists());
    let there = there.next().context("there is no root")?;
    tempfile::tempfile_in(there)
        .with_context(|| format!("{} cannot be written", there.display()))?;
    let disk = rustix::fs::statvfs(there)
        .with_context(|| format!("{} does not tell its size", there.display()))?;
    Ok((disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize))
}

fn judge(key: &str, path: &Path, free: u64, all: u64) -> Finding {
    let words = format!(
        "{}: {} free of {}",
        path.display(),
        human::bytes(free),
        human::bytes(all)
    );
    let advice = "make room, or set another directory: a role that cannot write stops. The join log rebuilds what is deleted";
    if free < LEAST_BYTES {
        Finding::fail(key, words, advice)
    } else if free < LOW_BYTES || free < all / LOW_PART {
        Finding::warn(key, words, advice)
    } else {
        Finding::ok(key, words)
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Status;
    use super::*;

    #[test]
    fn room_is_judged_by_size_and_part() {
        let judged = |free: u64, all: u64| judge("registry.data", Path::new("d"), free, all).status;
        assert_eq!(judged(100 << 30, 200 << 30), Status::Ok);
        assert_eq!(judged(1 << 30, 8 << 30), Status::Warn);
        assert_eq!(judged(4 << 30, 100 << 30), Status::Warn);
        assert_eq!(judged(1 << 20, 8 << 30), Status::Fail);
    }

    #[test]
    fn a_directory_that_is_not_there_yet_is_judged_by_the_one_above_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let (free, all) = room(&folder.path().join("data/registry")).expect("it is a disk");
        assert!(free <= all && all > 0);
        assert!(!folder.path().join("data").exists());
    }
}
