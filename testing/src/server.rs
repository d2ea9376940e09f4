//! What Kafka and Redis have in common: a command that can be given again and again, and a line in the log
//! that says the server is ready.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::Process;

/// A loaded machine with two cores needs some seconds for a JVM; this is the bound, not the expectation.
const START_WITHIN: Duration = Duration::from_secs(120);
const STOP_WITHIN: Duration = Duration::from_secs(60);
/// A free port may be taken between our look and the server's; then another is tried.
const START_ATTEMPTS_MAX: u32 = 3;

#[derive(Debug)]
pub(crate) struct Server {
    name: &'static str,
    ready_line: &'static str,
    command: Command,
    log: PathBuf,
    process: Process,
}

impl Server {
    /// Starts a server and waits until it is ready. `command` is asked for a new command, on new
    /// ports, when the ports of the one before turned out to be taken.
    pub(crate) fn start<T>(
        name: &'static str,
        ready_line: &'static str,
        log: &Path,
        mut command: impl FnMut() -> Result<(Command, T)>,
    ) -> Result<(Self, T)> {
        let mut attempt = 1;
        loop {
            let (command, ports) = command()?;
            let process = Process::spawn(name, &command, log)?;
            let mut server = Self {
                name,
                ready_line,
                command,
                log: log.to_owned(),
                process,
            };
            match server.wait_ready() {
                Ok(()) => return Ok((server, ports)),
                Err(_) if attempt < START_ATTEMPTS_MAX && server.port_was_taken() => attempt += 1,
                Err(error) => return Err(error),
            }
        }
    }

    pub(crate) fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    pub(crate) fn stop(&mut self) -> Result<()> {
        if self.process.is_running()? {
            self.process.sigterm()?;
            self.process.wait(STOP_WITHIN)?;
        }
        Ok(())
    }

    /// Starts it again by the same command, thus on the same ports and data.
    pub(crate) fn restart(&mut self) -> Result<()> {
        self.revive()?;
        self.wait_ready()
    }

    /// The same without waiting.
    pub(crate) fn revive(&mut self) -> Result<()> {
        self.stop()?;
        self.process = Process::spawn(self.name, &self.command, &self.log)?;
        Ok(())
    }

    pub(crate) fn wait_ready(&mut self) -> Result<()> {
        self.process
            .wait_for_log(self.ready_line, START_WITHIN)
            .with_context(|| format!("{} did not start", self.name))?;
        Ok(())
    }

    fn port_was_taken(&self) -> bool {
        self.process.log().is_ok_and(|log| log.contains("in use"))
    }
}
