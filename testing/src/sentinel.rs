//! A real Redis Sentinel that watches one primary and promotes its replica when it is gone.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::server::Server;
use crate::{Host, Redis, free_port, temp_folder};

/// The line by which it says that it has begun.
const READY_LINE: &str = "+monitor";
const NAME: &str = "rows";
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// A sentinel on its own, which is its own majority.
#[derive(Debug)]
pub struct Sentinel {
    _server: Server,
    address: String,
    _folder: TempDir,
}

impl Sentinel {
    /// Watches `primary`; one that is silent for `down_after` is replaced.
    pub fn start(primary: &Redis, host: &Host, down_after: Duration) -> Result<Self> {
        let folder = temp_folder("sentinel")?;
        let config = folder.path().join("sentinel.conf");
        let log = folder.path().join("server.log");
        let (server, port) = Server::start("redis-sentinel", READY_LINE, &log, || {
            let port = free_port()?;
            // It writes into its configuration what it learns.
            let (ip, watched, down_ms) =
                (primary.host().ip(), primary.port(), down_after.as_millis());
            let text = format!(
                "port {port}\nbind {}\nprotected-mode no\nsentinel monitor {NAME} {ip} {watched} 1\n\
                 sentinel down-after-milliseconds {NAME} {down_ms}\nsentinel failover-timeout {NAME} 10000\n",
                host.ip()
            );
            fs::write(&config, text)?;
            let mut command = Command::new("redis-server");
            command.arg(&config).arg("--sentinel");
            Ok((host.within(command), port))
        })?;
        Ok(Self {
            _server: server,
            address: format!("redis://{}:{port}", host.ip()),
            _folder: folder,
        })
    }

    /// Who is the primary now, as it says.
    pub fn primary(&self) -> Result<SocketAddr> {
        let client = redis::Client::open(self.address.as_str())?;
        let mut connection = client.get_connection_with_timeout(CALL_TIMEOUT)?;
        connection.set_read_timeout(Some(CALL_TIMEOUT))?;
        let answer: (String, u16) = redis::cmd("SENTINEL")
            .arg("get-master-addr-by-name")
            .arg(NAME)
            .query(&mut connection)?;
        let ip = answer.0.parse().context("an address of a primary")?;
        Ok(SocketAddr::new(ip, answer.1))
    }
}
