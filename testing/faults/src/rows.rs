//! Rows: Redis with a replica and a Sentinel, behind one address for each who asks, which follows whom the Sentinel calls the primary.
//! (So their links can be cut. That the product asks Sentinels itself has a test of its own: `testing/tests/redis_failover.rs`.)

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use rtf_testing::{Proxy, Redis, RedisOptions, Sentinel, SentinelOptions, free_port, wait_until};

use crate::network::{Group, Network};

/// Silent for so long, a primary is replaced.
pub(crate) const DOWN_AFTER: Duration = Duration::from_secs(4);
const IN_STEP_WITHIN: Duration = Duration::from_secs(90);

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Asker {
    East,
    West,
    Reader,
}

pub(crate) struct Rows {
    pub(crate) nodes: [Redis; 2],
    sentinel: Sentinel,
    proxies: [Proxy; 3],
    own_ip: &'static str,
    /// Which of the nodes.
    pub(crate) primary: usize,
    /// Whether the addresses stay where they are.
    pub(crate) is_held: bool,
}

impl Rows {
    pub(crate) fn start(network: &Network) -> Result<Self> {
        let host = network.host(Group::Redis);
        let options = |arguments| RedisOptions {
            append_only: true,
            host: host.clone(),
            arguments,
        };
        let first = Redis::start(&options(Vec::new()))?;
        let of = vec![
            "--replicaof".into(),
            host.ip().into(),
            first.port().to_string(),
        ];
        let second = Redis::start(&options(of))?;
        let sentinel = Sentinel::start(
            address(&first)?,
            &SentinelOptions {
                host: host.clone(),
                down_after: DOWN_AFTER,
                ..SentinelOptions::default()
            },
        )?;
        let address = address(&first)?;
        let own_ip = network.own_ip();
        let proxy = || -> Result<Proxy> {
            Proxy::between(SocketAddr::new(own_ip.parse()?, free_port()?), address)
        };
        let mut rows = Self {
            proxies: [proxy()?, proxy()?, proxy()?],
            nodes: [first, second],
            sentinel,
            own_ip,
            primary: 0,
            is_held: false,
        };
        rows.wait_in_step()?;
        Ok(rows)
    }

    pub(crate) fn url(&self, asker: Asker) -> String {
        format!("redis://{}:{}", self.own_ip, self.proxy(asker).port())
    }

    pub(crate) fn proxy(&self, asker: Asker) -> &Proxy {
        &self.proxies[asker as usize]
    }

    pub(crate) fn primary(&mut self) -> &mut Redis {
        &mut self.nodes[self.primary]
    }

    /// Starts it again as what it was: it may have begun as a replica, and would again.
    pub(crate) fn restart_primary(&mut self) -> Result<()> {
        self.primary().restart()?;
        let mut connection = self.primary().connection()?;
        let promote = redis::cmd("REPLICAOF").arg("NO").arg("ONE").to_owned();
        Ok(promote.exec(&mut connection)?)
    }

    pub(crate) fn replica(&mut self) -> &mut Redis {
        &mut self.nodes[1 - self.primary]
    }

    /// Leads the addresses to whom the Sentinel calls the primary, if that is another one than before.
    pub(crate) fn follow(&mut self) -> Result<bool> {
        // A Sentinel that does not answer now is asked again.
        let Ok(now) = self.sentinel.primary() else {
            return Ok(false);
        };
        let of_now = (self.nodes.iter()).position(|node| node.port() == now.port());
        let of_now = of_now.context("the Sentinel knows a primary that is not ours")?;
        if of_now == self.primary || self.is_held {
            return Ok(false);
        }
        self.primary = of_now;
        self.lead(&[Asker::East, Asker::West, Asker::Reader], of_now)?;
        Ok(true)
    }

    pub(crate) fn lead_to_replica(&self) -> Result<()> {
        self.lead(&[Asker::East, Asker::West], 1 - self.primary)
    }

    pub(crate) fn lead_to_primary(&self) -> Result<()> {
        self.lead(&[Asker::East, Asker::West], self.primary)
    }

    fn lead(&self, askers: &[Asker], node: usize) -> Result<()> {
        let address = address(&self.nodes[node])?;
        askers.iter().for_each(|a| self.proxy(*a).lead_to(address));
        Ok(())
    }

    /// Tells a node a setting.
    pub(crate) fn configure(&mut self, node: usize, key: &str, value: &str) -> Result<()> {
        let mut connection = self.nodes[node].connection()?;
        let set = redis::cmd("CONFIG")
            .arg("SET")
            .arg(key)
            .arg(value)
            .to_owned();
        Ok(set.exec(&mut connection)?)
    }

    /// Waits until the replica has what the primary has, or is about to.
    pub(crate) fn wait_in_step(&mut self) -> Result<()> {
        wait_until("the replica of Redis is in step", IN_STEP_WITHIN, || {
            // The Sentinel may have yet another primary meanwhile.
            self.follow().ok()?;
            let mut connection = self.primary().connection().ok()?;
            let info: String = redis::cmd("INFO")
                .arg("replication")
                .query(&mut connection)
                .ok()?;
            let is_so = info.contains("role:master") && info.contains("state=online");
            is_so.then_some(())
        })
    }
}

fn address(redis: &Redis) -> Result<SocketAddr> {
    Ok(SocketAddr::new(redis.host().ip().parse()?, redis.port()))
}
