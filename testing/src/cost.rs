//! What a process has cost so far, read from /proc.

use std::path::Path;

use anyhow::{Context, Result};

/// Clock ticks a second, as Linux reports them to user space.
const TICKS: f64 = 100.0;

/// CPU seconds, user and system together.
pub fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name may hold blanks; the fields begin behind its bracket.
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .context("no name in stat")?
        .1
        .split_whitespace()
        .collect();
    let ticks = |at: usize| {
        fields
            .get(at)
            .and_then(|ticks| ticks.parse::<f64>().ok())
            .context("a field of stat is missing")
    };
    Ok((ticks(11)? + ticks(12)?) / TICKS)
}

/// The most memory it has had resident, MiB.
pub fn peak_mib(pid: u32) -> Result<u64> {
    memory_mib(pid, "VmHWM:")
}

/// What this process has resident, MiB.
pub fn resident_mib() -> Result<u64> {
    resident_mib_of(std::process::id())
}

/// What it has resident now, MiB.
pub fn resident_mib_of(pid: u32) -> Result<u64> {
    memory_mib(pid, "VmRSS:")
}

/// Its threads now.
pub fn threads(pid: u32) -> Result<u64> {
    status(pid, "Threads:")
}

/// Its open file descriptors now, sockets and pipes among them.
pub fn open_files(pid: u32) -> Result<u64> {
    Ok(std::fs::read_dir(format!("/proc/{pid}/fd"))?.count() as u64)
}

/// Bytes of all files below a folder. What is removed meanwhile does not count.
pub fn folder_bytes(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        bytes += match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => folder_bytes(&entry.path()).unwrap_or(0),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        };
    }
    Ok(bytes)
}

fn memory_mib(pid: u32, figure: &str) -> Result<u64> {
    Ok(status(pid, figure)? / 1024)
}

/// A figure of its status; memory is in KiB.
fn status(pid: u32, figure: &str) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(figure))
        .with_context(|| format!("no {figure} in status"))?;
    Ok(line.trim().trim_end_matches(" kB").trim().parse()?)
}
