//! A real Apache Kafka cluster of three nodes on one machine, each broker and controller at once, so that any one may die and the other two
//! still have a quorum and `min.insync.replicas`. Nodes are numbered from 0, as Kafka itself names them here.
//!
//! Each broker has a second address, through a [`Proxy`]: clients that begin with [`proxied_bootstrap`](KafkaCluster::proxied_bootstrap)
//! are told only these, and can be cut off without the others.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

use crate::kafka::{Node, TOPIC_TOOL, cluster_id, fetch_kafka, tool};
use crate::{Host, Kafka, Proxy, TopicState, Way, free_port, wait_until};

const NODES: usize = 3;
/// Three on a small machine; the fast compiler alone, because they live for minutes.
const HEAP: &str = "-Xms128m -Xmx384m -XX:TieredStopAtLevel=1";

/// What makes three nodes a cluster that is safe and fails over within seconds.
const PROPERTIES: [(&str, &str); 6] = [
    ("offsets.topic.replication.factor", "3"),
    ("transaction.state.log.replication.factor", "3"),
    ("transaction.state.log.min.isr", "2"),
    ("min.insync.replicas", "2"),
    // A silent follower holds up every append until it is dropped from the replicas in sync.
    ("replica.lag.time.max.ms", "3000"),
    ("inter.broker.listener.name", "PLAINTEXT"),
];

/// How a cluster is started.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// Where each node runs. The proxies are of use on the loopback only.
    pub hosts: [Host; NODES],
    /// Broker properties, stronger than ours.
    pub properties: Vec<(String, String)>,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self {
            hosts: std::array::from_fn(|_| Host::default()),
            properties: Vec::new(),
        }
    }
}

/// The ports of a node.
#[derive(Clone, Copy, Debug)]
struct Ports {
    broker: u16,
    controller: u16,
    /// Where the broker listens for its proxy.
    behind_proxy: u16,
    proxy: u16,
}

/// A cluster; its ports stay the same over restarts.
#[derive(Debug)]
pub struct KafkaCluster {
    nodes: Vec<Kafka>,
    proxies: Vec<Proxy>,
}

impl KafkaCluster {
    /// Starts all nodes and waits until they are ready. The very first time Kafka is fetched from Maven Central.
    pub fn start() -> Result<Self> {
        Self::start_with(&ClusterOptions::default())
    }

    /// The same, where and how one likes.
    pub fn start_with(options: &ClusterOptions) -> Result<Self> {
        // Before the brokers' own time starts to count.
        fetch_kafka()?;
        let ports = (0..NODES).map(|_| Ports::free());
        let ports = ports.collect::<Result<Vec<_>>>()?;
        let proxies = ports
            .iter()
            .map(|ports| Proxy::start(ports.proxy, ports.behind_proxy));
        Ok(Self {
            proxies: proxies.collect::<Result<_>>()?,
            nodes: start_together(&nodes(&ports, options)?)?,
        })
    }

    /// How many nodes there are.
    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// The addresses clients start from.
    pub fn bootstrap(&self) -> String {
        let addresses = self.nodes.iter().map(Kafka::bootstrap);
        addresses.collect::<Vec<_>>().join(",")
    }

    /// The addresses that clients start from which may be cut off.
    pub fn proxied_bootstrap(&self) -> String {
        let addresses = self.proxies.iter();
        let addresses = addresses.map(|proxy| format!("127.0.0.1:{}", proxy.port()));
        addresses.collect::<Vec<_>>().join(",")
    }

    /// Holds back what goes this way between all nodes and the clients behind the proxies.
    pub fn hold(&self, way: Way) {
        self.proxies.iter().for_each(|proxy| proxy.hold(way));
    }

    /// Lets everything pass the proxies.
    pub fn release(&self) {
        self.proxies.iter().for_each(Proxy::release);
    }

    /// Kills a node at once and waits until it is gone.
    pub fn kill(&mut self, node: usize) -> Result<()> {
        self.nodes[node].kill9()
    }

    /// Loses what a node, which must not run, has on its disk.
    pub fn wipe(&self, node: usize) -> Result<()> {
        self.nodes[node].wipe()
    }

    /// Stops a node in order.
    pub fn stop(&mut self, node: usize) -> Result<()> {
        self.nodes[node].stop()
    }

    /// Starts a node again and does not wait.
    pub fn revive(&mut self, node: usize) -> Result<()> {
        self.nodes[node].revive()
    }

    /// Starts a node again and waits until it is ready.
    pub fn restart(&mut self, node: usize) -> Result<()> {
        self.nodes[node].restart()
    }

    /// Waits until a node that was started is ready.
    pub fn wait_ready(&mut self, node: usize) -> Result<()> {
        self.nodes[node].wait_ready()
    }

    /// Freezes a node: it lives and holds its connections, but does nothing.
    pub fn pause(&mut self, node: usize) -> Result<()> {
        self.nodes[node].process().sigstop()
    }

    /// Lets a frozen node go on.
    pub fn resume(&mut self, node: usize) -> Result<()> {
        self.nodes[node].process().sigcont()
    }

    /// How all topics stand, by name. Takes a second or two (a JVM).
    pub fn topics(&self) -> Result<BTreeMap<String, TopicState>> {
        let printed = tool(&self.bootstrap(), TOPIC_TOOL, &["--describe"], "")?;
        TopicState::parse(&printed)
    }

    /// Waits until every replica of every partition is in sync, and says how all topics stand then.
    pub fn wait_in_sync(&self, within: Duration) -> Result<BTreeMap<String, TopicState>> {
        let mut last = Ok(BTreeMap::new());
        let waited = wait_until("all replicas in sync", within, || {
            // On an error it is asked again: a node that has just come back may not know yet.
            last = self.topics();
            let topics = last.as_ref().ok()?;
            let in_sync = topics.values().all(TopicState::is_in_sync);
            in_sync.then(|| topics.clone())
        });
        waited.with_context(|| format!("the topics: {last:?}"))
    }
}

impl Ports {
    fn free() -> Result<Self> {
        Ok(Self {
            broker: free_port()?,
            controller: free_port()?,
            behind_proxy: free_port()?,
            proxy: free_port()?,
        })
    }

    fn listeners(self, ip: &str) -> String {
        let Self {
            broker,
            controller,
            behind_proxy,
            ..
        } = self;
        format!(
            "PLAINTEXT://{ip}:{broker},CONTROLLER://{ip}:{controller},PROXIED://127.0.0.1:{behind_proxy}"
        )
    }

    /// A client that asks behind the proxy is told the proxies' ports.
    fn advertised(self, ip: &str) -> String {
        let Self { broker, proxy, .. } = self;
        format!("PLAINTEXT://{ip}:{broker},PROXIED://127.0.0.1:{proxy}")
    }
}

fn nodes(ports: &[Ports], options: &ClusterOptions) -> Result<Vec<Node>> {
    let cluster_id = cluster_id()?;
    let voters = ports.iter().zip(&options.hosts).enumerate();
    let voters = voters.map(|(n, (ports, host))| format!("{n}@{}:{}", host.ip(), ports.controller));
    let voters = voters.collect::<Vec<_>>().join(",");
    let node = |(n, (ports, host)): (usize, (&Ports, &Host))| Node {
        host: host.clone(),
        port: ports.broker,
        controller_port: ports.controller,
        cluster_id: Some(cluster_id.clone()),
        heap: Some(HEAP),
        properties: properties(n, *ports, host, &voters, options),
        listeners: Vec::new(),
    };
    Ok(ports
        .iter()
        .zip(&options.hosts)
        .enumerate()
        .map(node)
        .collect())
}

fn properties(
    number: usize,
    ports: Ports,
    host: &Host,
    voters: &str,
    options: &ClusterOptions,
) -> Vec<(String, String)> {
    let map = "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT";
    let own = [
        ("node.id", number.to_string()),
        ("controller.quorum.voters", voters.to_owned()),
        ("listeners", ports.listeners(host.ip())),
        ("advertised.listeners", ports.advertised(host.ip())),
        ("listener.security.protocol.map", map.to_owned()),
    ];
    let common = PROPERTIES.iter().map(|(k, v)| (*k, (*v).to_owned()));
    let all = common.chain(own);
    let all = all.map(|(key, value)| (key.to_owned(), value));
    all.chain(options.properties.iter().cloned()).collect()
}

/// None is ready before most of them are up. Their ports are fixed: the others were told.
fn start_together(nodes: &[Node]) -> Result<Vec<Kafka>> {
    thread::scope(|scope| {
        let start = |node: &Node| Kafka::start_node(|| Ok(node.clone()));
        let starting: Vec<_> = nodes
            .iter()
            .map(|node| scope.spawn(move || start(node)))
            .collect();
        let started = starting.into_iter().map(|thread| {
            let started = thread.join();
            started.map_err(|_| anyhow!("a node's thread panicked"))?
        });
        started.collect()
    })
}
