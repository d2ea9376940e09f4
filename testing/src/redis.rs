//! A real Redis server on a free port, its data in a temporary folder.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::server::Server;
use crate::{Host, Process, free_port, temp_folder};

const READY_LINE: &str = "Ready to accept connections";
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// How a Redis server is started.
#[derive(Clone, Debug, Default)]
pub struct RedisOptions {
    /// Whether what was written survives a kill (an append-only file); else every start is empty.
    pub append_only: bool,
    /// Where it runs.
    pub host: Host,
    /// Further command line arguments, for instance `["--maxmemory", "10mb"]`.
    pub arguments: Vec<String>,
}

/// A Redis server; its port stays the same over restarts.
#[derive(Debug)]
pub struct Redis {
    server: Server,
    port: u16,
    host: Host,
    folder: TempDir,
}

impl Redis {
    /// Starts `redis-server` from the PATH and waits until it answers.
    pub fn start(options: &RedisOptions) -> Result<Self> {
        let folder = temp_folder("redis")?;
        let (server, port) = Server::start(
            "redis-server",
            READY_LINE,
            &folder.path().join("server.log"),
            || {
                let port = free_port()?;
                let command = command(options, port, &folder);
                Ok((options.host.within(command), port))
            },
        )
        .context("Redis is needed (Debian, Ubuntu: apt-get install redis-server)")?;
        Ok(Self {
            server,
            port,
            host: options.host.clone(),
            folder,
        })
    }

    /// Its address, as a client wants it.
    pub fn url(&self) -> String {
        format!("redis://{}:{}", self.host.ip(), self.port)
    }

    /// Where it runs.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A new connection, whose calls fail rather than wait for ever.
    pub fn connection(&self) -> Result<redis::Connection> {
        let connection = redis::Client::open(self.url())?
            .get_connection_with_timeout(CALL_TIMEOUT)
            .with_context(|| format!("cannot connect to {}", self.url()))?;
        connection.set_read_timeout(Some(CALL_TIMEOUT))?;
        connection.set_write_timeout(Some(CALL_TIMEOUT))?;
        Ok(connection)
    }

    /// Loses what it has on its disk; it must not run.
    pub fn wipe(&self) -> Result<()> {
        for entry in fs::read_dir(self.folder.path())? {
            let path = entry?.path();
            if path.is_dir() {
                fs::remove_dir_all(&path)?;
            } else if path.extension().is_some_and(|name| name == "rdb") {
                fs::remove_file(&path)?;
            }
        }
        Ok(())
    }

    /// Forgets everything.
    pub fn flushall(&self) -> Result<()> {
        Ok(redis::cmd("FLUSHALL").exec(&mut self.connection()?)?)
    }

    /// Kills it at once and waits until it is gone.
    pub fn kill9(&mut self) -> Result<()> {
        self.server.process().kill9()
    }

    /// Stops it in order. One that does not run is fine.
    pub fn stop(&mut self) -> Result<()> {
        self.server.stop()
    }

    /// Starts it again, after stopping it if it runs, on the same port and data; waits until it answers.
    pub fn restart(&mut self) -> Result<()> {
        self.server.restart()
    }

    /// Its process, to freeze it or to see its log and its id.
    pub fn process(&mut self) -> &mut Process {
        self.server.process()
    }
}

fn command(options: &RedisOptions, port: u16, folder: &TempDir) -> Command {
    let mut command = Command::new("redis-server");
    command
        .args(["--bind", options.host.ip(), "--protected-mode", "no"])
        .args(["--save", "", "--daemonize", "no"])
        .args(["--port", &port.to_string()])
        .args([
            "--appendonly",
            if options.append_only { "yes" } else { "no" },
        ])
        .arg("--dir")
        .arg(folder.path())
        .args(&options.arguments);
    command
}
