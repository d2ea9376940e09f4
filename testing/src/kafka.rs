//! A real Apache Kafka broker (KRaft, one node) on free ports, its data in a temporary folder.
//! How a broker is set up is known to `tools/kafka` alone; here it is only started, hurt and stopped.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::json;
use tempfile::TempDir;

use crate::server::Server;
use crate::{Host, Process, free_port, temp_folder, wait_until};

/// Lists, makes and deletes topics.
pub(crate) const TOPIC_TOOL: &str = "org.apache.kafka.tools.TopicCommand";
const DELETE_TOOL: &str = "org.apache.kafka.tools.DeleteRecordsCommand";
const READY_LINE: &str = "Kafka Server started";
/// Deleting takes its time.
const ANEW_WITHIN: Duration = Duration::from_secs(90);

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
    /// Listeners beside the plain one: protocol and port on the loopback interface.
    pub listeners: Vec<(&'static str, u16)>,
}

/// A broker; its ports stay the same over restarts.
#[derive(Debug)]
pub struct Kafka {
    server: Server,
    port: u16,
    host: Host,
    folder: TempDir,
}

impl Kafka {
    /// Starts a broker and waits until it is ready. The very first time Kafka is fetched from Maven Central.
    pub fn start(options: &KafkaOptions) -> Result<Self> {
        // Before the broker's own time starts to count.
        fetch_kafka()?;
        Self::start_node(|| Node::new(options))
    }

    /// Starts one node of a cluster, or the only one, and waits until it is ready. `node` is asked again if a port is taken.
    pub(crate) fn start_node(mut node: impl FnMut() -> Result<Node>) -> Result<Self> {
        let folder = temp_folder("kafka")?;
        let log = folder.path().join("server.log");
        let (server, (port, host)) = Server::start("Kafka", READY_LINE, &log, || {
            let node = node()?;
            let command = node.host.within(node.command(&folder));
            Ok((command, (node.port, node.host)))
        })?;
        Ok(Self {
            server,
            port,
            host,
            folder,
        })
    }

    /// The address clients start from.
    pub fn bootstrap(&self) -> String {
        format!("{}:{}", self.host.ip(), self.port)
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

    /// Deletes a topic and makes it anew, under the same name.
    pub fn make_anew(&self, topic: &str, partitions: u32, config: &[(&str, &str)]) -> Result<()> {
        let tool = |arguments: &[&str]| {
            let arguments = [arguments, &["--topic", topic]].concat();
            self.tool(TOPIC_TOOL, &arguments, "").map(drop)
        };
        tool(&["--delete"])?;
        let partitions = partitions.to_string();
        let config: Vec<String> = (config.iter())
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        let mut create = vec!["--create", "--partitions", &partitions];
        for pair in &config {
            create.extend(["--config", pair]);
        }
        // While it is being deleted it is still there.
        wait_until("the topic can be made anew", ANEW_WITHIN, || {
            tool(&create).ok()
        })
    }

    /// Runs one of Kafka's own tools against this broker, for instance
    /// `org.apache.kafka.tools.GetOffsetShell`, and returns what it prints.
    pub fn tool(&self, class: &str, arguments: &[&str], input: &str) -> Result<String> {
        tool(&self.bootstrap(), class, arguments, input)
    }

    /// Removes a topic's records below these offsets, per partition, as retention does.
    pub fn delete_records(&self, topic: &str, below: &[(u32, u64)]) -> Result<()> {
        let partition = |(partition, offset): &(u32, u64)| json!({ "topic": topic, "partition": partition, "offset": offset });
        let partitions: Vec<_> = below.iter().map(partition).collect();
        let file = tempfile::NamedTempFile::new()?;
        serde_json::to_writer(&file, &json!({ "partitions": partitions, "version": 1 }))?;
        let path = file.path().to_str().context("a path of text")?;
        self.tool(DELETE_TOOL, &["--offset-json-file", path], "")?;
        Ok(())
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

    /// Starts it again like [`restart`](Self::restart), without waiting.
    pub(crate) fn revive(&mut self) -> Result<()> {
        self.server.revive()
    }

    /// Waits until it is ready.
    pub(crate) fn wait_ready(&mut self) -> Result<()> {
        self.server.wait_ready()
    }

    /// Loses what it has on its disk; it must not run.
    pub(crate) fn wipe(&self) -> Result<()> {
        let data = self.folder.path().join(self.port.to_string()).join("data");
        fs::remove_dir_all(&data).with_context(|| format!("cannot delete {}", data.display()))
    }

    /// Its process, to freeze it or to see its log and its id.
    pub fn process(&mut self) -> &mut Process {
        self.server.process()
    }
}

/// What `tools/kafka` must know of a node.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) host: Host,
    pub(crate) port: u16,
    pub(crate) controller_port: u16,
    /// None: a cluster of its own.
    pub(crate) cluster_id: Option<String>,
    /// Java's options for the heap; none: the tool's own.
    pub(crate) heap: Option<&'static str>,
    /// Stronger than ours.
    pub(crate) properties: Vec<(String, String)>,
    /// Beside the plain one.
    pub(crate) listeners: Vec<(&'static str, u16)>,
}

impl Node {
    /// A cluster of one, on ports that are free now.
    fn new(options: &KafkaOptions) -> Result<Self> {
        Ok(Self {
            host: Host::default(),
            port: free_port()?,
            controller_port: free_port()?,
            cluster_id: None,
            heap: None,
            properties: options.properties.clone(),
            listeners: options.listeners.clone(),
        })
    }

    fn command(&self, folder: &TempDir) -> Command {
        let mut command = Command::new(script());
        command
            .args(["run", "--port", &self.port.to_string()])
            .args(["--controller-port", &self.controller_port.to_string()])
            .arg("--dir")
            .arg(folder.path().join(self.port.to_string()));
        if let Some(id) = &self.cluster_id {
            command.args(["--cluster-id", id]);
        }
        if let Some(heap) = self.heap {
            command.env("KAFKA_HEAP_OPTS", heap);
        }
        let ours = SESSION_PROPERTIES.iter();
        let ours = ours.map(|(key, value)| format!("{key}={value}"));
        let listeners = self.listening();
        let theirs = self.properties.iter().chain(&listeners);
        let theirs = theirs.map(|(key, value)| format!("{key}={value}"));
        for property in ours.chain(theirs) {
            command.args(["-o", &property]);
        }
        command
    }

    /// What is said of listeners where there are more than the plain one.
    fn listening(&self) -> Vec<(String, String)> {
        if self.listeners.is_empty() {
            return Vec::new();
        }
        let ip = self.host.ip();
        let plain = format!("PLAINTEXT://{ip}:{}", self.port);
        let more = self.listeners.iter();
        let more = more.map(|(protocol, port)| format!(",{protocol}://{ip}:{port}"));
        let advertised = plain + &more.collect::<String>();
        let controller = format!("CONTROLLER://{ip}:{}", self.controller_port);
        let protocols = self.listeners.iter();
        let protocols = protocols.map(|(protocol, _)| format!(",{protocol}:{protocol}"));
        let map = "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT".to_owned();
        let pair = |key: &str, value: String| (key.to_owned(), value);
        vec![
            pair("listeners", format!("{advertised},{controller}")),
            pair("advertised.listeners", advertised),
            pair(
                "listener.security.protocol.map",
                map + &protocols.collect::<String>(),
            ),
        ]
    }
}

fn script() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../tools/kafka"))
}

/// Fetches Kafka from Maven Central, unless it is here. Every start does so; it is of use before a network is left.
pub fn fetch_kafka() -> Result<()> {
    output(Command::new(script()).arg("jars"), "").map(drop)
}

/// An id for a new cluster.
pub(crate) fn cluster_id() -> Result<String> {
    output(Command::new(script()).arg("cluster-id"), "")
}

/// Runs one of Kafka's own tools, and returns what it prints.
pub(crate) fn tool(
    bootstrap: &str,
    class: &str,
    arguments: &[&str],
    input: &str,
) -> Result<String> {
    let mut command = Command::new(script());
    command
        .args(["exec", class, "--bootstrap-server", bootstrap])
        .args(arguments);
    output(&mut command, input)
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
