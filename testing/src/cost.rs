//! What a process has cost so far, read from /proc.

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
    memory_mib(std::process::id(), "VmRSS:")
}

fn memory_mib(pid: u32, figure: &str) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(figure))
        .with_context(|| format!("no {figure} in status"))?;
    let kib: u64 = line.trim().trim_end_matches(" kB").trim().parse()?;
    Ok(kib / 1024)
}
