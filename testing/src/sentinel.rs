//! A real Redis Sentinel that watches one primary and has its replica promoted when it is gone.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::server::Server;
use crate::{Host, free_port, temp_folder};

/// The line by which it says that it has begun.
const READY_LINE: &str = "+monitor";
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// How it watches.
#[derive(Clone, Debug)]
pub struct SentinelOptions {
    /// Where it runs.
    pub host: Host,
    /// A primary that is silent for so long is replaced.
    pub down_after: Duration,
    /// So many Sentinels must find that it is.
    pub quorum: u16,
    /// Further lines of its configuration.
    pub more: String,
}

impl Default for SentinelOptions {
    /// On its own, which is its own majority.
    fn default() -> Self {
        Self {
            host: Host::default(),
            down_after: Duration::from_secs(1),
            quorum: 1,
            more: String::new(),
        }
    }
}

/// A Sentinel.
#[derive(Debug)]
pub struct Sentinel {
    _server: Server,
    address: SocketAddr,
    _folder: TempDir,
}

impl Sentinel {
    /// The name under which it watches its primary.
    pub const MASTER: &str = "rows";

    /// Watches `primary`.
    pub fn start(primary: SocketAddr, options: &SentinelOptions) -> Result<Self> {
        let folder = temp_folder("sentinel")?;
        let config = folder.path().join("sentinel.conf");
        let log = folder.path().join("server.log");
        let (server, port) = Server::start("redis-sentinel", READY_LINE, &log, || {
            let port = free_port()?;
            // It writes into its configuration what it learns.
            fs::write(&config, configuration(primary, port, options))?;
            let mut command = Command::new("redis-server");
            command.arg(&config).arg("--sentinel");
            Ok((options.host.within(command), port))
        })?;
        Ok(Self {
            _server: server,
            address: SocketAddr::new(options.host.ip().parse()?, port),
            _folder: folder,
        })
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Who is the primary now, as it says.
    pub fn primary(&self) -> Result<SocketAddr> {
        let answer: (String, u16) = redis::cmd("SENTINEL")
            .arg("get-master-addr-by-name")
            .arg(Self::MASTER)
            .query(&mut self.connection()?)?;
        let ip = answer.0.parse().context("an address of a primary")?;
        Ok(SocketAddr::new(ip, answer.1))
    }

    /// Whether it knows enough others to replace the primary by one of `replicas`.
    pub fn is_prepared(&self, replicas: usize) -> Result<bool> {
        let mut connection = self.connection()?;
        let mut ask = |what: &str| {
            let mut question = redis::cmd("SENTINEL");
            question.arg(what).arg(Self::MASTER);
            question.query::<redis::Value>(&mut connection)
        };
        let known: Vec<redis::Value> = redis::from_redis_value(ask("replicas")?)?;
        Ok(known.len() == replicas && ask("ckquorum").is_ok())
    }

    fn connection(&self) -> Result<redis::Connection> {
        let client = redis::Client::open(format!("redis://{}", self.address))?;
        let connection = client.get_connection_with_timeout(CALL_TIMEOUT)?;
        connection.set_read_timeout(Some(CALL_TIMEOUT))?;
        Ok(connection)
    }
}

fn configuration(primary: SocketAddr, port: u16, options: &SentinelOptions) -> String {
    let (name, host, ip) = (Sentinel::MASTER, options.host.ip(), primary.ip());
    let (watched, quorum) = (primary.port(), options.quorum);
    let down_ms = options.down_after.as_millis();
    format!(
        "port {port}\nbind {host}\nprotected-mode no\n{}sentinel monitor {name} {ip} {watched} {quorum}\n\
         sentinel down-after-milliseconds {name} {down_ms}\nsentinel failover-timeout {name} 10000\n",
        options.more
    )
}
