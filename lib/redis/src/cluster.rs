//! The nodes of a Redis Cluster: who has a key, as they say themselves. They are asked again whenever one of them fails or refuses, be it because it has
//! not the key any more (`MOVED`, `ASK`), because it is a replica now, or because it is gone.

use crate::line::{Line, Whom};
use crate::server::{self, ask_once, first_good};
use crate::slots::{Node, Slots};
use crate::{Error, Limits};
use redis::{Client, Value, cmd};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// Nodes are asked who has what no more often than this: a failover takes seconds.
const LOOK_AFTER: Duration = Duration::from_millis(100);
/// So many of them at once: some live, however large the cluster is.
const ASKED_MAX: usize = 5;

pub(crate) struct Cluster {
    seeds: Vec<Client>,
    /// As nodes want to be talked to.
    server: Client,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    slots: Slots,
    lines: HashMap<Arc<Node>, Arc<Line>>,
    /// Whether that may be wrong by now.
    is_stale: bool,
    /// Addresses of those that failed since: they are not asked who has what, since one that was cut off from the others tells what was true before.
    doubted: HashSet<String>,
    looked: Option<(Instant, Result<(), Error>)>,
    looks: usize,
}

impl Cluster {
    pub(crate) fn new(seeds: Vec<Client>, server: Client) -> Self {
        Self {
            seeds,
            server,
            known: Mutex::default(),
        }
    }

    /// To who has a key.
    pub(crate) async fn line(&self, key: &str, limits: Limits) -> Result<Arc<Line>, Error> {
        let mut known = self.known.lock().await;
        self.look(&mut known, limits).await?;
        match known.slots.owner(key).cloned() {
            Some(node) => self.line_to(&mut known, node),
            None => {
                known.is_stale = true;
                Err(Error::NoOwner { key: key.into() })
            }
        }
    }

    /// To all who have keys.
    pub(crate) async fn lines(&self, limits: Limits) -> Result<Vec<Arc<Line>>, Error> {
        let mut known = self.known.lock().await;
        self.look(&mut known, limits).await?;
        let nodes = known.slots.nodes().clone().into_iter();
        nodes.map(|node| self.line_to(&mut known, node)).collect()
    }

    /// What this one had may be somebody else's by now.
    pub(crate) async fn doubt(&self, line: &Arc<Line>) {
        let mut known = self.known.lock().await;
        let mut lines = known.lines.iter();
        let node = lines.find(|(_, known)| Arc::ptr_eq(known, line));
        // Else it was learned since that it has nothing.
        if let Some(address) = node.map(|(node, _)| node.to_string()) {
            known.is_stale = true;
            known.doubted.insert(address);
        }
    }

    fn line_to(&self, known: &mut Known, node: Arc<Node>) -> Result<Arc<Line>, Error> {
        if let Some(line) = known.lines.get(&node) {
            return Ok(line.clone());
        }
        let line = Arc::new(Line::new(Whom::Server(self.client(&node)?)));
        known.lines.insert(node, line.clone());
        Ok(line)
    }

    fn client(&self, node: &Node) -> Result<Client, Error> {
        server::like(&self.server, node.host.clone(), node.port)
    }

    /// Asks who has what, if that is not known, or doubted.
    async fn look(&self, known: &mut Known, limits: Limits) -> Result<(), Error> {
        if let Some((at, outcome)) = &known.looked
            && (at.elapsed() < LOOK_AFTER || (outcome.is_ok() && !known.is_stale))
        {
            return outcome.clone();
        }
        let asked = self.whom_to_ask(known)?;
        let asked = asked.iter().map(|node| slots_of(node, limits));
        let found = first_good(asked.collect()).await;
        known.looks = known.looks.wrapping_add(1);
        known.is_stale = false;
        known.doubted.clear();
        let outcome = found.map(|slots| {
            known.lines.retain(|node, _| slots.nodes().contains(node));
            known.slots = slots;
        });
        known.looked = Some((Instant::now(), outcome.clone()));
        outcome
    }

    /// Nobody who is doubted, unless there are no others; not always the same ones.
    fn whom_to_ask(&self, known: &Known) -> Result<Vec<Client>, Error> {
        let seeds = self.seeds.iter().cloned();
        let mut nodes: BTreeMap<String, Client> =
            seeds.map(|seed| (server::address(&seed), seed)).collect();
        for node in known.slots.nodes() {
            nodes.insert(node.to_string(), self.client(node)?);
        }
        let is_trusted = |address: &String| !known.doubted.contains(address);
        if nodes.keys().any(is_trusted) {
            nodes.retain(|address, _| is_trusted(address));
        }
        let mut asked: Vec<Client> = nodes.into_values().collect();
        let begin = known.looks % asked.len().max(1);
        asked.rotate_left(begin);
        asked.truncate(ASKED_MAX);
        Ok(asked)
    }
}

async fn slots_of(node: &Client, limits: Limits) -> Result<Slots, Error> {
    let mut question = cmd("CLUSTER");
    question.arg("SLOTS");
    let answer: Value = ask_once(node, &question, limits).await?;
    let slots = Slots::read(answer, server::host(node));
    let slots = slots.filter(|slots| !slots.nodes().is_empty());
    slots.ok_or_else(|| Error::NoSlots {
        address: server::address(node),
    })
}
