//! A redis-server of the demonstration's own, if there is one on the PATH.

use anyhow::Context;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// A running server; killed when dropped.
pub struct RedisServer {
    child: Child,
    address: SocketAddr,
}

impl RedisServer {
    /// Starts it in `folder` on a free port; `None` when no redis-server is installed.
    ///
    /// # Errors
    /// It is installed and does not start.
    pub fn start(folder: &Path) -> anyhow::Result<Option<Self>> {
        let address = free_port()?;
        let Some(child) = spawn(folder, address.port())? else {
            return Ok(None);
        };
        let mut server = Self { child, address };
        let deadline = Instant::now() + ANSWERS_WITHIN;
        while TcpStream::connect(address).is_err() {
            if let Some(status) = server.child.try_wait()? {
                anyhow::bail!(
                    "redis-server ended at once ({status}); `--no-redis` does without it"
                );
            }
            anyhow::ensure!(
                Instant::now() < deadline,
                "redis-server does not answer; `--no-redis` does without it"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(Some(server))
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // Nothing in it outlives the demonstration; it may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// With `setpriv` the server dies with us, even by `kill -9`.
fn spawn(folder: &Path, port: u16) -> anyhow::Result<Option<Child>> {
    let port = port.to_string();
    let arguments = [
        "--port",
        &port,
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--appendonly",
        "no",
        "--maxmemory-policy",
        "noeviction",
    ];
    for launcher in [
        &["setpriv", "--pdeathsig", "KILL", "redis-server"][..],
        &["redis-server"],
    ] {
        if !on_path(launcher[0]) || !on_path("redis-server") {
            continue;
        }
        let child = Command::new(launcher[0])
            .args(&launcher[1..])
            .args(arguments)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("starting {}", launcher[0]))?;
        return Ok(Some(child));
    }
    Ok(None)
}

fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn free_port() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
