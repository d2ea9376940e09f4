//! A real Redis Cluster on one machine: three primaries, each with a replica or none.

use std::time::Duration;

use anyhow::{Context, Result};
use redis::RedisResult;

use crate::{Redis, RedisOptions, free_port, wait_until};

/// Primaries; the fewest of which most are left when one dies.
const PRIMARIES: usize = 3;
const SLOTS: usize = 16384;
/// A node that is silent for so long is replaced by its replica; a busy machine is silent for a second.
const NODE_TIMEOUT_MS: &str = "3000";
/// A loaded machine needs some seconds; this is the bound.
const WITHIN: Duration = Duration::from_secs(60);
/// Keys moved at once.
const MOVED_AT_ONCE: u32 = 100;
const MOVED_WITHIN_MS: u32 = 5_000;

/// A cluster; the first three nodes begin as its primaries.
#[derive(Debug)]
pub struct RedisCluster {
    /// Its nodes.
    pub nodes: Vec<Redis>,
}

impl RedisCluster {
    /// Three primaries with a replica each.
    pub fn start() -> Result<Self> {
        Self::start_with(2 * PRIMARIES, |_| Ok(Vec::new()))
    }

    /// Primaries alone, each with arguments of its own.
    pub fn start_primaries(arguments: impl FnMut(usize) -> Result<Vec<String>>) -> Result<Self> {
        Self::start_with(PRIMARIES, arguments)
    }

    fn start_with(
        count: usize,
        mut arguments: impl FnMut(usize) -> Result<Vec<String>>,
    ) -> Result<Self> {
        let mut nodes = Vec::new();
        let mut buses = Vec::new();
        for number in 0..count {
            let bus = free_port()?;
            nodes.push(start_node(bus, arguments(number)?)?);
            buses.push(bus);
        }
        let cluster = Self { nodes };
        cluster.meet(&buses)?;
        cluster.replicate()?;
        cluster.wait_ok()?;
        Ok(cluster)
    }

    /// Where all nodes are, as one URL.
    pub fn url(&self) -> String {
        redis_url(&self.nodes)
    }

    /// Each primary gets a third of the slots, and they get to know each other.
    fn meet(&self, buses: &[u16]) -> Result<()> {
        for (number, node) in self.nodes.iter().enumerate() {
            tell(node, &["SET-CONFIG-EPOCH", &(number + 1).to_string()])?;
            if number < PRIMARIES {
                let first = SLOTS * number / PRIMARIES;
                let last = SLOTS * (number + 1) / PRIMARIES - 1;
                let range = [first.to_string(), last.to_string()];
                tell(node, &["ADDSLOTSRANGE", &range[0], &range[1]])?;
            }
        }
        for (node, bus) in self.nodes.iter().zip(buses).skip(1) {
            let place = [node.port().to_string(), bus.to_string()];
            let meet = ["MEET", node.host().ip(), &place[0], &place[1]];
            tell(&self.nodes[0], &meet)?;
        }
        let known = format!("cluster_known_nodes:{}", self.nodes.len());
        self.wait("all nodes know each other", &self.nodes, |info| {
            info.contains(&known)
        })
    }

    /// Each node beyond the primaries follows one.
    fn replicate(&self) -> Result<()> {
        let (primaries, replicas) = self.nodes.split_at(PRIMARIES);
        for (replica, primary) in replicas.iter().zip(primaries) {
            let id = id(primary)?;
            wait_until("the replica follows its primary", WITHIN, || {
                tell(replica, &["REPLICATE", &id]).ok()
            })?;
            wait_until("the replica is in step", WITHIN, || {
                let mut connection = replica.connection().ok()?;
                let mut info = redis::cmd("INFO");
                let info: String = info.arg("replication").query(&mut connection).ok()?;
                info.contains("master_link_status:up").then_some(())
            })?;
        }
        Ok(())
    }

    /// Waits until each node says that all slots are served.
    pub fn wait_ok(&self) -> Result<()> {
        self.wait("all slots are served", &self.nodes, |info| {
            info.contains("cluster_state:ok")
        })
    }

    fn wait(&self, what: &str, nodes: &[Redis], is_so: impl Fn(&str) -> bool) -> Result<()> {
        wait_until(what, WITHIN, || {
            let mut infos = nodes.iter().map(|node| ask::<String>(node, &["INFO"]));
            infos
                .all(|info| info.is_ok_and(|info| is_so(&info)))
                .then_some(())
        })
    }

    /// Which node has a key, as the nodes that live say: the others answer that it is elsewhere.
    pub fn owner(&self, key: &str) -> Option<usize> {
        self.nodes.iter().position(|node| {
            let exists = |mut connection: redis::Connection| {
                let exists: RedisResult<u32> = redis::cmd("EXISTS").arg(key).query(&mut connection);
                exists.is_ok()
            };
            node.connection().is_ok_and(exists)
        })
    }

    /// Waits until another one than `node` has a key, and says who.
    pub fn wait_moved(&self, key: &str, node: usize) -> Result<usize> {
        wait_until("another node has the key", WITHIN, || {
            self.owner(key).filter(|owner| *owner != node)
        })
    }

    /// Moves the slot of a key to another node, as `redis-cli --cluster reshard` does it, whoever writes meanwhile.
    pub fn move_slot_of(&self, key: &str, to: usize) -> Result<()> {
        let from = self.owner(key).context("nobody has the key")?;
        let (from, to) = (&self.nodes[from], &self.nodes[to]);
        let slot = ask::<u32>(from, &["KEYSLOT", key])?.to_string();
        let (source, target) = (id(from)?, id(to)?);
        tell(to, &["SETSLOT", &slot, "IMPORTING", &source])?;
        tell(from, &["SETSLOT", &slot, "MIGRATING", &target])?;
        let most = MOVED_AT_ONCE.to_string();
        loop {
            let keys: Vec<String> = ask(from, &["GETKEYSINSLOT", &slot, &most])?;
            if keys.is_empty() {
                break;
            }
            migrate(from, to, &keys)?;
        }
        tell(to, &["SETSLOT", &slot, "NODE", &target])?;
        tell(from, &["SETSLOT", &slot, "NODE", &target])
    }
}

/// Where several servers are, as one URL.
pub fn redis_url(nodes: &[Redis]) -> String {
    let places = nodes
        .iter()
        .map(|node| format!("{}:{}", node.host().ip(), node.port()));
    format!("redis://{}", places.collect::<Vec<_>>().join(","))
}

fn start_node(bus: u16, more: Vec<String>) -> Result<Redis> {
    let bus = bus.to_string();
    let arguments = ["--cluster-enabled", "yes", "--cluster-port", &bus]
        .into_iter()
        .chain(["--cluster-node-timeout", NODE_TIMEOUT_MS])
        .map(str::to_owned);
    Redis::start(&RedisOptions {
        append_only: true,
        arguments: arguments.chain(more).collect(),
        ..RedisOptions::default()
    })
}

fn migrate(from: &Redis, to: &Redis, keys: &[String]) -> Result<()> {
    let mut migrate = redis::cmd("MIGRATE");
    migrate.arg(to.host().ip()).arg(to.port()).arg("").arg(0);
    migrate.arg(MOVED_WITHIN_MS).arg("KEYS").arg(keys);
    Ok(migrate.exec(&mut from.connection()?)?)
}

fn id(node: &Redis) -> Result<String> {
    ask(node, &["MYID"])
}

fn tell(node: &Redis, words: &[&str]) -> Result<()> {
    ask::<redis::Value>(node, words).map(drop)
}

/// `CLUSTER` and these words.
fn ask<T: redis::FromRedisValue>(node: &Redis, words: &[&str]) -> Result<T> {
    let mut command = redis::cmd("CLUSTER");
    let answer = command.arg(words).query(&mut node.connection()?);
    answer.with_context(|| format!("CLUSTER {}", words.join(" ")))
}
