//! The product under test: a configuration of its own, and the `rtf` processes that run it, all roles in one or one each.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rtf_synth::{Join, Stream};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::port::HEALTH_PORT_ABOVE;
use crate::{Host, Process, free_port, free_role_port, http, rtf_binary, temp_folder, wait_until};

/// A command such as `rtf verify` may take so long.
const COMMAND_WITHIN: Duration = Duration::from_secs(120);
/// A process that was asked to stop has so long.
const STOP_WITHIN: Duration = Duration::from_secs(30);
/// Replicas of a role for which the configuration has an address, unless the options say otherwise.
const REPLICAS: u16 = 2;

/// A role of the pipeline, each a command of `rtf`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// All of them in one process.
    All,
    /// Who won.
    Registry,
    /// The join itself.
    Joiner,
    /// Reads the foreign topic.
    Dispatcher,
    /// Rows into Redis.
    Publisher,
    /// The table.
    Web,
}

impl Role {
    /// One process each.
    pub const EACH: [Self; 5] = [
        Self::Registry,
        Self::Joiner,
        Self::Dispatcher,
        Self::Publisher,
        Self::Web,
    ];

    /// The command.
    pub fn command(self) -> &'static str {
        match self {
            Self::All => "run",
            Self::Registry => "registry",
            Self::Joiner => "joiner",
            Self::Dispatcher => "dispatcher",
            Self::Publisher => "publisher",
            Self::Web => "web",
        }
    }
}

/// One process of a role: the first is number 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instance(pub Role, pub u16);

impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.0.command(), self.1)
    }
}

/// What the configuration says beside the join itself.
#[derive(Clone, Debug)]
pub struct PipelineOptions {
    /// The join.
    pub join: Join,
    /// Partitions of the join log.
    pub partitions: u32,
    /// The longest wait, as configuration text.
    pub wait_max: &'static str,
    /// How long an id is remembered, as configuration text.
    pub horizon: &'static str,
    /// When a silent dispatcher has lost its partitions, as configuration text. The broker has a least of its own.
    pub session_timeout: &'static str,
    /// Whether roles run apart.
    pub is_cluster: bool,
    /// Whether roles that run apart speak TLS; `more` says with which certificates.
    pub has_tls: bool,
    /// Registries for which the configuration has an address.
    pub registries: u16,
    /// Joiners for which the configuration has an address.
    pub joiners: u16,
    /// Publishers that may run.
    pub publishers: u16,
    /// Further lines of `[join.wait]`.
    pub more_wait: &'static str,
    /// Further lines of `[redis]`.
    pub more_redis: &'static str,
    /// Dispatchers that the configuration lists for operators; none: only the first one is known.
    pub dispatchers: u16,
    /// Where the instances run: the first of each role on the first, and so on, and from the first again.
    pub hosts: Vec<Host>,
    /// Further lines of TOML, tables of their own.
    pub more: String,
}

impl PipelineOptions {
    /// For `join`, with what suits most tests.
    pub fn new(join: Join) -> Self {
        Self {
            join,
            partitions: 4,
            wait_max: "15s",
            horizon: "3d",
            session_timeout: "2s",
            is_cluster: false,
            has_tls: false,
            registries: REPLICAS,
            joiners: REPLICAS,
            publishers: REPLICAS,
            more_wait: "",
            more_redis: "",
            dispatchers: 0,
            hosts: vec![Host::default()],
            more: String::new(),
        }
    }
}

/// What a command of `rtf` said and how it ended.
#[derive(Clone, Debug)]
pub struct Finished {
    /// How.
    pub status: ExitStatus,
    /// Both outputs.
    pub output: String,
}

impl Finished {
    /// The exit code, -1 for a signal.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or(-1)
    }

    /// The JSON object it printed; it must have done what it was asked.
    pub fn done(&self) -> Result<Value> {
        ensure!(self.code() == 0, "{}: {}", self.status, self.output);
        self.json()
    }

    /// The JSON object it printed.
    pub fn json(&self) -> Result<Value> {
        let line = self.output.lines().rfind(|line| line.starts_with('{'));
        let line = line.with_context(|| format!("no JSON in: {}", self.output))?;
        serde_json::from_str(line).with_context(|| format!("not JSON: {line}"))
    }
}

/// A command of `rtf` on its way.
#[derive(Debug)]
pub struct Running(Process);

impl Running {
    /// Waits until it has ended by itself.
    pub fn finish(mut self, within: Duration) -> Result<Finished> {
        let status = self.0.wait(within)?;
        let output = self.0.log()?;
        Ok(Finished { status, output })
    }
}

/// A pipeline's folder, configuration and processes. Dropped, all of them are gone.
#[derive(Debug)]
pub struct Pipeline {
    options: PipelineOptions,
    ports: BTreeMap<Role, Vec<u16>>,
    processes: BTreeMap<Instance, Process>,
    /// What an instance alone is told.
    flags: BTreeMap<Instance, Vec<String>>,
    /// The environment of an instance alone.
    environment: BTreeMap<Instance, Vec<(String, String)>>,
    /// Where an instance is to be killed.
    crashes: BTreeMap<Instance, String>,
    folder: TempDir,
}

impl Pipeline {
    /// Writes the configuration; starts nothing.
    pub fn new(options: &PipelineOptions, bootstrap: &str, redis: &str) -> Result<Self> {
        let mut pipeline = Self {
            options: options.clone(),
            ports: BTreeMap::new(),
            processes: BTreeMap::new(),
            flags: BTreeMap::new(),
            environment: BTreeMap::new(),
            crashes: BTreeMap::new(),
            folder: temp_folder("pipeline")?,
        };
        for role in Role::EACH {
            let port = if role == Role::Web {
                free_port
            } else {
                free_role_port
            };
            let replicas = match role {
                Role::Registry => options.registries,
                Role::Joiner => options.joiners,
                Role::Dispatcher => options.dispatchers.max(REPLICAS),
                Role::Publisher => options.publishers,
                _ => REPLICAS,
            };
            let ports = (0..replicas).map(|_| port()).collect::<Result<_>>()?;
            pipeline.ports.insert(role, ports);
        }
        let config = pipeline.configuration(bootstrap, redis);
        fs::write(pipeline.config(), config)?;
        Ok(pipeline)
    }

    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.folder.path().join("rtf.toml")
    }

    /// Everything of it.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where a registry keeps its view of the log.
    pub fn registry_data(&self, replica: u16) -> PathBuf {
        self.folder.path().join(format!("registry-{replica}"))
    }

    /// Where a joiner keeps its events.
    pub fn joiner_data(&self, replica: u16) -> PathBuf {
        self.folder.path().join(format!("joiner-{replica}"))
    }

    /// Forgets what a registry, which must not run, keeps on its disk.
    pub fn delete_registry_data(&self, replica: u16) -> Result<()> {
        let data = self.registry_data(replica);
        fs::remove_dir_all(&data).with_context(|| format!("cannot delete {}", data.display()))
    }

    /// The page's address, without a slash at its end.
    pub fn web(&self) -> String {
        self.health(Instance(Role::Web, 0))
    }

    /// The port a role listens on.
    pub fn port(&self, role: Role, replica: u16) -> u16 {
        self.ports[&role][usize::from(replica)]
    }

    fn host(&self, replica: u16) -> &Host {
        &self.options.hosts[usize::from(replica) % self.options.hosts.len()]
    }

    /// Where an instance tells its health and its metrics.
    pub fn health(&self, Instance(role, replica): Instance) -> String {
        let port = match role {
            Role::All => self.port(Role::Web, 0),
            Role::Web => self.port(Role::Web, replica),
            _ => self.port(role, replica) + HEALTH_PORT_ABOVE,
        };
        format!("http://{}:{port}", self.host(replica).ip())
    }

    /// Tells an instance something else than the configuration does, from its next start on.
    pub fn set(&mut self, instance: Instance, key: &str, value: &str) {
        let flags = self.flags.entry(instance).or_default();
        flags.push(format!("--set={key}={value}"));
    }

    /// Gives an instance a variable of its environment, from its next start on.
    pub fn set_env(&mut self, instance: Instance, name: &str, value: &str) {
        let variables = self.environment.entry(instance).or_default();
        variables.push((name.into(), value.into()));
    }

    /// Has an instance killed, as by `kill -9`, when it comes to a named step (see `rtf_service::crash`) of its next life.
    pub fn crash_at(&mut self, instance: Instance, step: &str) {
        self.crashes.insert(instance, format!("{step}=return"));
    }

    /// Starts an instance and does not wait. Its log goes on in the same file.
    pub fn start(&mut self, instance: Instance) -> Result<()> {
        let Instance(role, replica) = instance;
        let mut command = self.command(role.command())?;
        if replica > 0 {
            let listen = format!("{}:{}", self.host(replica).ip(), self.port(role, replica));
            let role = role.command();
            command.arg(format!("--set={role}.listen={listen}"));
            if matches!(instance.0, Role::Registry | Role::Joiner) {
                let data = self.folder.path().join(format!("{role}-{replica}"));
                command.arg(format!("--set={role}.data={}", data.display()));
            }
        }
        command.args(self.flags.get(&instance).into_iter().flatten());
        let variables = self.environment.get(&instance);
        command.envs(
            variables
                .into_iter()
                .flatten()
                .map(|(name, value)| (name, value)),
        );
        if let Some(step) = self.crashes.remove(&instance) {
            command.env("FAILPOINTS", step);
        }
        let log = self.folder.path().join(format!("{instance}.log"));
        let command = self.host(replica).within(command);
        let process = Process::spawn(&format!("rtf {instance}"), &command, &log)?;
        self.processes.insert(instance, process);
        Ok(())
    }

    /// Starts an instance and waits until it says that it is ready.
    pub fn start_ready(&mut self, instance: Instance, within: Duration) -> Result<()> {
        self.start(instance)?;
        self.wait_ready(instance, within)
    }

    /// Starts some instances, and waits until all of them say that they are ready.
    pub fn start_all(&mut self, instances: &[Instance], within: Duration) -> Result<()> {
        for instance in instances {
            self.start(*instance)?;
        }
        for instance in instances {
            self.wait_ready(*instance, within)?;
        }
        Ok(())
    }

    /// Waits until an instance says that it is ready. Fails at once if it ends.
    pub fn wait_ready(&mut self, instance: Instance, within: Duration) -> Result<()> {
        let url = format!("{}/readyz", self.health(instance));
        let process = self.process(instance)?;
        let mut last = String::new();
        let ready = wait_until(&format!("{instance} ready"), within, || {
            match process.status() {
                Ok(None) => {}
                Ok(Some(status)) => {
                    let log = process.log().unwrap_or_default();
                    return Some(Err(anyhow::anyhow!("{instance} ended ({status}):\n{log}")));
                }
                Err(error) => return Some(Err(error)),
            }
            match http::get(&url) {
                Ok(answer) if answer.status() == 200 => Some(Ok(())),
                Ok(answer) => {
                    last = answer.into_body();
                    None
                }
                Err(_) => None,
            }
        });
        ready
            .and_then(|result| result)
            .with_context(|| format!("{instance} is not ready: {last}"))
    }

    /// Waits until the registry in an instance remembers nothing any more.
    pub fn wait_forgotten(&self, instance: Instance, within: Duration) -> Result<()> {
        let url = self.health(instance);
        wait_until("everything is forgotten", within, || {
            let ids = http::metric(&url, "rtf_registry_ids", "").ok()?;
            (ids == 0.0).then_some(())
        })
    }

    /// An instance's process, which must have been started.
    pub fn process(&mut self, instance: Instance) -> Result<&mut Process> {
        let process = self.processes.get_mut(&instance);
        process.with_context(|| format!("{instance} was never started"))
    }

    /// The id of an instance's process, which must have been started.
    pub fn pid(&self, instance: Instance) -> Result<u32> {
        let process = self.processes.get(&instance);
        let process = process.with_context(|| format!("{instance} was never started"))?;
        Ok(process.pid())
    }

    /// Hands over all processes, to be watched and stopped by somebody else while this is kept.
    pub fn take_processes(&mut self) -> Vec<Process> {
        std::mem::take(&mut self.processes).into_values().collect()
    }

    /// Kills an instance at once.
    pub fn kill9(&mut self, instance: Instance) -> Result<()> {
        self.process(instance)?.kill9()
    }

    /// Asks an instance to stop, and demands that it does so cleanly and in time.
    pub fn stop(&mut self, instance: Instance) -> Result<()> {
        let process = self.process(instance)?;
        process.sigterm()?;
        let status = process.wait(STOP_WITHIN)?;
        if !status.success() {
            let log = process.log().unwrap_or_default();
            bail!("{instance} did not stop cleanly ({status}):\n{log}");
        }
        Ok(())
    }

    /// Runs a command of `rtf` with this configuration until it ends by itself.
    pub fn rtf<A: AsRef<OsStr>>(&self, command: &str, arguments: &[A]) -> Result<Finished> {
        self.spawn_rtf(command, arguments)?.finish(COMMAND_WITHIN)
    }

    /// Starts a command of `rtf` with this configuration that ends by itself.
    pub fn spawn_rtf<A: AsRef<OsStr>>(&self, command: &str, arguments: &[A]) -> Result<Running> {
        let mut line = self.command(command)?;
        line.args(arguments);
        spawn(&line, self.folder.path())
    }

    fn command(&self, command: &str) -> Result<Command> {
        let mut line = Command::new(rtf_binary()?);
        line.arg(command).arg("--config").arg(self.config());
        // Where the default of a path would be used by mistake.
        line.current_dir(self.folder.path());
        Ok(line)
    }

    fn configuration(&self, bootstrap: &str, redis: &str) -> String {
        let options = &self.options;
        let join = &options.join;
        let listen = |role| json!(format!("{}:{}", self.host(0).ip(), self.port(role, 0)));
        let data = |name| json!(self.folder.path().join(name));
        let (bootstrap, redis) = (json!(bootstrap), json!(redis));
        // JSON's strings, numbers and lists are TOML's too.
        let mut toml = format!("[kafka]\nbootstrap = {bootstrap}\n[redis]\nurl = {redis}\n");
        toml += options.more_redis;
        let mut table = |name: &str, keys: &[(&str, Value)]| toml += &table_of(name, keys);
        table("join", &[("name", json!(join.name))]);
        table("join.foreign", &stream(&join.foreign));
        table("join.primary", &stream(&join.primary));
        if let Some(pointer) = join.order_by {
            let keys = [("policy", json!("best")), ("order_by", json!(pointer))];
            table("join.match", &keys);
        }
        table("join.wait", &[("max", json!(options.wait_max))]);
        toml += options.more_wait;
        let mut table = |name: &str, keys: &[(&str, Value)]| toml += &table_of(name, keys);
        let registry = [
            ("partitions", json!(options.partitions)),
            ("horizon", json!(options.horizon)),
            ("data", data("registry-0")),
            ("listen", listen(Role::Registry)),
        ];
        table("registry", &registry);
        let joiner = [("data", data("joiner-0")), ("listen", listen(Role::Joiner))];
        table("joiner", &joiner);
        let dispatcher = [
            ("session_timeout", json!(options.session_timeout)),
            ("listen", listen(Role::Dispatcher)),
        ];
        table("dispatcher", &dispatcher);
        table("publisher", &[("listen", listen(Role::Publisher))]);
        table("web", &[("listen", listen(Role::Web))]);
        if options.is_cluster {
            let registries = json!(self.urls(Role::Registry));
            let joiners = json!(self.urls(Role::Joiner));
            let mut lists = vec![("registries", registries), ("joiners", joiners)];
            if options.dispatchers > 0 {
                lists.push(("dispatchers", json!(self.urls(Role::Dispatcher))));
            }
            table("cluster", &lists);
        }
        toml + &options.more
    }

    fn urls(&self, role: Role) -> Vec<String> {
        let ports = self.ports[&role].iter().zip(0..);
        let scheme = if self.options.has_tls {
            "https"
        } else {
            "http"
        };
        ports
            .map(|(port, replica)| format!("{scheme}://{}:{port}", self.host(replica).ip()))
            .collect()
    }
}

fn table_of(name: &str, keys: &[(&str, Value)]) -> String {
    let keys = keys.iter().map(|(key, value)| format!("{key} = {value}\n"));
    format!("[{name}]\n") + &keys.collect::<String>()
}

fn stream(stream: &Stream) -> Vec<(&'static str, Value)> {
    let mut keys = vec![
        ("topic", json!(stream.topic)),
        ("id", fields(stream.id)),
        ("key", fields(stream.key)),
    ];
    keys.extend(stream.time.map(|pointer| ("time", json!(pointer))));
    keys.extend(stream.expires.map(|pointer| ("expires", json!(pointer))));
    keys
}

/// Several are separated by spaces.
fn fields(fields: &str) -> Value {
    json!(fields.split(' ').collect::<Vec<_>>())
}

/// Runs a command until it ends by itself; its output goes through a file in `folder`.
pub fn run(command: &Command, folder: &Path, within: Duration) -> Result<Finished> {
    spawn(command, folder)?.finish(within)
}

fn spawn(command: &Command, folder: &Path) -> Result<Running> {
    // Several may run at once.
    let mut log = tempfile::Builder::new();
    let log = log.prefix("command-").suffix(".log").tempfile_in(folder)?;
    let (_, log) = log.keep()?;
    let process = Process::spawn(&format!("{command:?}"), command, &log)?;
    Ok(Running(process))
}
