//! On what machine and when something is measured, in a sentence. Knows nothing of what.

use anyhow::{Context, Result};
use std::fs;
use std::process::Command;
use std::thread::available_parallelism;

/// As it is now, when this writer begins: the load is that before anything was started.
pub fn now(writer: &str) -> Result<String> {
    let cpu = fs::read_to_string("/proc/cpuinfo")?;
    let memory = fs::read_to_string("/proc/meminfo")?;
    let kib: u64 = field(&memory, "MemTotal")
        .context("a total")?
        .trim_end_matches(" kB")
        .parse()?;
    let load = fs::read_to_string("/proc/loadavg")?;
    let load = load.split(' ').next().unwrap_or_default();
    Ok(format!(
        "Written by `{writer}` on {}: {} cores ({}), {} GiB, {}, {}; load average {load} before it began.",
        said(Command::new("date").args(["--utc", "+%Y-%m-%d"]))?,
        available_parallelism()?,
        field(&cpu, "model name").unwrap_or("of no name"),
        kib >> 20,
        java()?,
        redis()?,
    ))
}

/// What a file of `name : value` lines says first of this name.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = lines.find(|(found, _)| found.trim() == name)?;
    Some(value.trim())
}

fn java() -> Result<String> {
    let version = said(Command::new("java").arg("--version"))?;
    let line = version.lines().next().unwrap_or_default();
    Ok(line.split(' ').take(2).collect::<Vec<_>>().join(" "))
}

fn redis() -> Result<String> {
    let version = said(Command::new("redis-server").arg("--version"))?;
    let words = version.split(' ').find_map(|word| word.strip_prefix("v="));
    Ok(format!("redis-server {}", words.unwrap_or("of no version")))
}

fn said(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("cannot start {command:?}"))?;
    Ok(String::from_utf8(output.stdout)?.trim().into())
}
