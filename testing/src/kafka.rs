//! A real Apache Kafka broker (KRaft, one node) on free ports, its data in a temporary folder.
//! How a broker is set up is known to `tools/kafka` alone; here it is only started, hurt and stopped.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::server::Server;
use crate::{Process, free_port, temp_folder};

const READY_LINE: &str = "Kafka Server started";

/// After a `kill -9` the controller refuses the new broker until the old one's session is over, 9 s by
/// default. A shorter one makes the tests faster; much shorter, and a busy machine would lose the broker.
const SESSION_PROPERTIES: [(&str, &str); 2] = [
    ("broker.session.timeout.ms", "3000"),
    ("broker.heartbeat.interval.ms", "300"),
];

/// How a broker is started.
#[derive(Clone, Debug, Default)]
pub struct KafkaOptions {
    /// Broker properties, stronger than ours.
    pub properties: Vec<(String, String)>,
}

/// A broker; its ports stay the same over restarts.
#[derive(Debug)]
pub struct Kafka {
    server: Server,
    port: u16,
    _folder: TempDir,
}

impl Kafka {
    /// Starts a broker and waits until it is ready. The very first time Kafka is fetched from Maven Central.
    pub fn start(options: &KafkaOptions) -> Result<Self> {
        // Before the broker's own time starts to count.
        output(Command::new(script()).arg("jars"), "")?;
        let folder = temp_folder("kafka")?;
        let log = folder.path().join("server.log");
        let (server, port) = Server::start("Kafka", READY_LINE, &log, || {
            let port = free_port()?;
            Ok((command(options, port, free_port()?, &folder), port))
        })?;
        Ok(Self {
            server,
            port,
            _folder: folder,
        })
    }

    /// The address clients start from.
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Creates a topic, unless it exists. Takes a second or two (a JVM).
    pub fn create_topic(&self, name: &str, partitions: u32, config: &[(&str, &str)]) -> Result<()> {
        let mut command = Command::new(script());
        command.args([
            "topic",
            name,
            &partitions.to_string(),
            "--port",
            &self.port.to_string(),
        ]);
        for (key, value) in config {
            command.args(["--config", &format!("{key}={value}")]);
        }
        output(&mut command, "").map(drop)
    }

    /// Runs one of Kafka's own tools against this broker, for instance
    /// `org.apache.kafka.tools.GetOffsetShell`, and returns what it prints.
    pub fn tool(&self, class: &str, arguments: &[&str], input: &str) -> Result<String> {
        let mut command = Command::new(script());
        command
            .args(["exec", class, "--bootstrap-server", &self.bootstrap()])
            .args(arguments);
        output(&mut command, input)
    }

    /// Kills it at once and waits until it is gone.
    pub fn kill9(&mut self) -> Result<()> {
        self.server.process().kill9()
    }

    /// Stops it in order. One that does not run is fine.
    pub fn stop(&mut self) -> Result<()> {
        self.server.stop()
    }

    /// Starts it again, after stopping it if it runs, on the same ports and data; waits until it is ready.
    pub fn restart(&mut self) -> Result<()> {
        self.server.restart()
    }

    /// Its process, to freeze it or to see its log and its id.
    pub fn process(&mut self) -> &mut Process {
        self.server.process()
    }
}

fn script() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../tools/kafka"))
}

fn command(options: &KafkaOptions, port: u16, controller_port: u16, folder: &TempDir) -> Command {
    let mut command = Command::new(script());
    command
        .args(["run", "--port", &port.to_string()])
        .args(["--controller-port", &controller_port.to_string()])
        .arg("--dir")
        .arg(folder.path().join(port.to_string()));
    let ours = SESSION_PROPERTIES
        .iter()
        .map(|(key, value)| format!("{key}={value}"));
    let theirs = options
        .properties
        .iter()
        .map(|(key, value)| format!("{key}={value}"));
    for property in ours.chain(theirs) {
        command.args(["-o", &property]);
    }
    command
}

/// What a command prints, given `input`; an error with its words if it fails.
fn output(command: &mut Command, input: &str) -> Result<String> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", command.get_program().display()))?;
    // Dropped at once, so that the tool sees the end of its input. What the tool does not read, it does not want.
    let _ = child
        .stdin
        .take()
        .context("its input is a pipe")?
        .write_all(input.as_bytes());
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!(
            "{command:?} failed ({}):\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
