//! Isolation: a network and a mount namespace of this run alone, so that links can be cut and small disks mounted without a trace: whatever
//! is made in there ends with the last process of it, however that dies.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Tells the program that it is inside already.
const INSIDE: &str = "RTF_FAULTS_INSIDE";
/// Where `ip netns` keeps its names, for the whole machine unless something else is mounted there.
const NAMES: &str = "/run/netns";

/// What this machine allows.
#[derive(Debug)]
pub(crate) struct Isolation {
    /// Why there are no namespaces, if there are none.
    pub(crate) refused: Option<String>,
}

/// Starts this program again inside namespaces of its own where that is possible. To be called before any thread is started.
pub(crate) fn enter() -> Result<Isolation> {
    if std::env::var_os(INSIDE).is_some() {
        furnish()?;
        return Ok(Isolation { refused: None });
    }
    // In there is no way to Maven Central.
    rtf_testing::fetch_kafka()?;
    let namespaces = ["--net", "--mount", "--propagation", "private"];
    let possible = "mkdir -p /run/netns && mount -t tmpfs tmpfs /run/netns && ip netns add x && ip rule add from 10.0.0.1 blackhole";
    let tried = Command::new("unshare")
        .args(namespaces)
        .args(["--", "sh", "-c", possible])
        .stdin(Stdio::null())
        .output();
    let refused = match tried {
        Ok(output) if output.status.success() => {
            let program = std::env::current_exe().context("the running program has no path")?;
            let error = Command::new("unshare")
                .args(namespaces)
                .arg("--")
                .arg(program)
                .args(std::env::args_os().skip(1))
                .env(INSIDE, "1")
                .exec();
            return Err(error).context("cannot start anew inside namespaces");
        }
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => error.to_string(),
    };
    let refused = format!("no namespaces (root and iproute2 are needed): {refused}");
    Ok(Isolation {
        refused: Some(refused),
    })
}

/// The loopback, and room for names.
fn furnish() -> Result<()> {
    std::fs::create_dir_all(NAMES)?;
    command(&["mount", "-t", "tmpfs", "tmpfs", NAMES])?;
    command(&["ip", "link", "set", "lo", "up"])?;
    std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("cannot forward packets")
}

/// Runs a command of the system, which must succeed.
pub(crate) fn command(words: &[&str]) -> Result<()> {
    let (program, arguments) = words.split_first().context("a command has a name")?;
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {program}"))?;
    if !output.status.success() {
        bail!("{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
