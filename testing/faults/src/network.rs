//! Network: groups of processes, each in a network namespace of its own, with this program as the router between them: what it does not forward
//! is gone without a word, one way or both. It must not know who lives in a group.

use anyhow::Result;
use rtf_testing::Host;

use crate::isolation::{Isolation, command};

/// Brokers of the cluster.
pub(crate) const BROKERS: usize = 3;
/// What a slow link carries, with so much of it waiting at the most.
const SLOW: [&str; 7] = ["tbf", "rate", "3mbit", "burst", "16kb", "latency", "300ms"];

/// Who is cut off together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    /// The first instance of each role.
    East,
    /// The second.
    West,
    /// A broker.
    Broker(usize),
    /// Both Redis servers and their Sentinel.
    Redis,
}

impl Group {
    const ALL: [Self; 6] = [
        Self::East,
        Self::West,
        Self::Broker(0),
        Self::Broker(1),
        Self::Broker(2),
        Self::Redis,
    ];

    pub(crate) const BROKERS: [Self; BROKERS] = [Self::Broker(0), Self::Broker(1), Self::Broker(2)];

    fn number(self) -> usize {
        match self {
            Self::East => 1,
            Self::West => 2,
            Self::Redis => 3,
            Self::Broker(node) => 4 + node,
        }
    }

    pub(crate) fn name(self) -> String {
        match self {
            Self::East => "east".into(),
            Self::West => "west".into(),
            Self::Redis => "redis".into(),
            Self::Broker(node) => format!("broker-{node}"),
        }
    }

    fn ip(self) -> String {
        format!("10.77.{}.2", self.number())
    }

    fn link(self) -> String {
        format!("v{}", self.number())
    }
}

/// The groups, or all of them on the loopback where namespaces are not allowed.
#[derive(Debug)]
pub(crate) struct Network {
    is_real: bool,
}

impl Network {
    pub(crate) fn new(isolation: &Isolation) -> Result<Self> {
        let is_real = isolation.refused.is_none();
        if is_real {
            command(&["ip", "addr", "add", "10.77.0.1/32", "dev", "lo"])?;
            Group::ALL.into_iter().try_for_each(make)?;
        }
        Ok(Self { is_real })
    }

    /// Where this program itself is found by the groups.
    pub(crate) fn own_ip(&self) -> &'static str {
        if self.is_real {
            "10.77.0.1"
        } else {
            "127.0.0.1"
        }
    }

    pub(crate) fn host(&self, group: Group) -> Host {
        match self.is_real {
            true => Host::new(&group.ip(), &["ip", "netns", "exec", &group.name()]),
            false => Host::default(),
        }
    }

    /// What goes from one to the other is lost from now on.
    pub(crate) fn cut(&self, from: Group, to: Group) -> Result<()> {
        rule("add", from, to)
    }

    /// Undoes [`cut`](Self::cut).
    pub(crate) fn mend(&self, from: Group, to: Group) -> Result<()> {
        rule("del", from, to)
    }

    /// What goes to and from a group goes slowly from now on.
    pub(crate) fn slow(&self, group: Group) -> Result<()> {
        let (name, link) = (group.name(), group.link());
        let inside = ["tc", "-n", &name, "qdisc", "add", "dev", "eth0", "root"];
        let outside = ["tc", "qdisc", "add", "dev", &link, "root"];
        command(&[&inside[..], &SLOW].concat())?;
        command(&[&outside[..], &SLOW].concat())
    }

    /// Undoes [`slow`](Self::slow).
    pub(crate) fn quicken(&self, group: Group) -> Result<()> {
        let (name, link) = (group.name(), group.link());
        command(&["tc", "-n", &name, "qdisc", "del", "dev", "eth0", "root"])?;
        command(&["tc", "qdisc", "del", "dev", &link, "root"])
    }
}

fn rule(verb: &str, from: Group, to: Group) -> Result<()> {
    let (from, to) = (from.ip(), to.ip());
    command(&["ip", "rule", verb, "from", &from, "to", &to, "blackhole"])
}

/// A namespace with one link, to us.
fn make(group: Group) -> Result<()> {
    let (name, link, number) = (group.name(), group.link(), group.number());
    let (ours, theirs) = (format!("10.77.{number}.1"), format!("10.77.{number}.2/24"));
    let ours_net = format!("{ours}/24");
    for line in [
        format!("ip netns add {name}"),
        format!("ip link add {link} type veth peer name eth0 netns {name}"),
        format!("ip addr add {ours_net} dev {link}"),
        format!("ip link set {link} up"),
        format!("ip -n {name} link set lo up"),
        format!("ip -n {name} addr add {theirs} dev eth0"),
        format!("ip -n {name} link set eth0 up"),
        format!("ip -n {name} route add default via {ours}"),
    ] {
        command(&line.split(' ').collect::<Vec<_>>())?;
    }
    Ok(())
}
