//! The typed configuration. What each key means stands in `defaults.toml`, once.

use crate::hosts;
use crate::secret::{self, Secret};
use crate::text::{optional, properties, shown};
use crate::units::{Size, Span};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

/// A role's HTTP port is so far from its gRPC port.
pub(crate) const HTTP_PORT_DISTANCE: u16 = 100;
/// Where Sentinels listen by default.
const SENTINEL_PORT: u16 = 26379;

/// All of it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `[kafka]`
    pub kafka: Kafka,
    /// `[join]`
    pub join: Join,
    /// `[registry]`
    pub registry: Registry,
    /// `[joiner]`
    pub joiner: Joiner,
    /// `[dispatcher]`
    pub dispatcher: Dispatcher,
    /// `[publisher]`
    pub publisher: Publisher,
    /// `[redis]`
    pub redis: Redis,
    /// `[cluster]`
    pub cluster: Cluster,
    /// `[admin]`
    pub admin: Admin,
    /// `[telemetry]`
    pub telemetry: Telemetry,
    /// `[web]`
    pub web: Web,
}

/// `[kafka]`
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kafka {
    pub bootstrap: String,
    #[serde(deserialize_with = "properties", serialize_with = "shown")]
    pub properties: BTreeMap<String, Secret>,
}

/// `[join]`
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Join {
    pub name: String,
    pub foreign: Foreign,
    pub primary: Primary,
    pub r#match: Match,
    pub wait: Wait,
}

/// `[join.foreign]`
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Foreign {
    pub topic: String,
    pub id: Vec<String>,
    pub key: Vec<String>,
    pub time: String,
    pub trim: bool,
    pub fold_case: bool,
}

/// `[join.primary]`
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Primary {
    pub topic: String,
    pub id: Vec<String>,
    pub key: Vec<String>,
    pub time: String,
    pub expires: String,
    pub trim: bool,
    pub fold_case: bool,
}

/// `join.match.policy`
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    First,
    Latest,
    Best,
    All,
}

/// `join.match.order`
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    Asc,
    Desc,
}

/// `[join.match]`
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Match {
    pub policy: Policy,
    pub order_by: String,
    pub order: Order,
    pub limit: usize,
    pub collect: Span,
}

/// `join.wait.unmatched`
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unmatched {
    DeadLetter,
    Emit,
}

/// `[join.wait]`
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wait {
    pub max: Span,
    pub unmatched: Unmatched,
    pub retry_initial: Span,
    pub retry_max: Span,
    pub park_after: Span,
    pub tiers: Vec<Span>,
    pub max_events: usize,
    pub max_bytes: Size,
}

/// `[registry]`
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registry {
    pub partitions: u32,
    pub serves: String,
    pub replication: u16,
    pub horizon: Span,
    pub skip_records: Vec<String>,
    pub topic_checks: TopicChecks,
    pub data: PathBuf,
    pub listen: SocketAddr,
    #[serde(rename = "http", with = "optional")]
    pub http_at: Option<SocketAddr>,
}

/// `registry.topic_checks`
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TopicChecks {
    Strict,
    Warn,
}

/// `joiner.layout`
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    All,
    Partitioned,
}

/// `[joiner]`
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Joiner {
    pub layout: Layout,
    pub session_timeout: Span,
    pub data: PathBuf,
    pub memory: Size,
    pub listen: SocketAddr,
    #[serde(rename = "http", with = "optional")]
    pub http_at: Option<SocketAddr>,
}

/// `dispatcher.isolation`
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    ReadCommitted,
    ReadUncommitted,
}

/// `[dispatcher]`
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dispatcher {
    pub group: String,
    pub instance_id: String,
    pub session_timeout: Span,
    pub isolation: Isolation,
    pub site: String,
    pub claim: Span,
    pub batch: usize,
    pub in_flight: usize,
    pub listen: SocketAddr,
    #[serde(rename = "http", with = "optional")]
    pub http_at: Option<SocketAddr>,
}

/// `[publisher]`
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Publisher {
    pub dead_letter_retention: Span,
    pub listen: SocketAddr,
    #[serde(rename = "http", with = "optional")]
    pub http_at: Option<SocketAddr>,
}

/// `redis.kind`
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RedisKind {
    Single,
    Sentinel,
    Cluster,
}

impl RedisKind {
    /// As it is written.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::Sentinel => "sentinel",
            Self::Cluster => "cluster",
        }
    }
}

/// `[redis]`
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redis {
    pub kind: RedisKind,
    #[serde(serialize_with = "secret::url::serialize")]
    pub url: Secret,
    pub password: Secret,
    pub max_rows: u64,
    pub timeout: Span,
    pub tls: Tls,
    pub sentinel: Sentinel,
}

/// `[redis.sentinel]`
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sentinel {
    pub master: String,
    pub user: String,
    pub password: Secret,
}

impl Sentinel {
    /// Whether nothing is said of them.
    pub(crate) fn is_empty(&self) -> bool {
        self.master.is_empty() && self.user.is_empty() && self.password.is_empty()
    }
}

/// `[redis.tls]`: paths of PEM files, empty where there is none.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    pub ca: String,
    pub certificate: String,
    pub key: String,
}

impl Tls {
    /// Whether none is named.
    pub fn is_empty(&self) -> bool {
        self.ca.is_empty() && self.certificate.is_empty() && self.key.is_empty()
    }
}

/// `[cluster]`
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    pub registries: Vec<String>,
    pub joiners: Vec<String>,
    pub dispatchers: Vec<String>,
    pub publishers: Vec<String>,
    pub tls: ClusterTls,
}

/// `[cluster.tls]`: paths of PEM files, empty where there is none.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterTls {
    pub ca: String,
    pub certificate: String,
    pub key: String,
    pub verify_clients: bool,
}

impl ClusterTls {
    /// Whether roles speak TLS.
    pub fn is_on(&self) -> bool {
        !self.ca.is_empty()
    }

    /// What addresses of roles begin with.
    pub fn scheme(&self) -> &'static str {
        if self.is_on() { "https://" } else { "http://" }
    }
}

/// `[admin]`
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    pub token: Secret,
}

/// `[telemetry]`
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Telemetry {
    pub traces: Traces,
}

/// `[telemetry.traces]`
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Traces {
    pub endpoint: String,
    pub sample: f64,
}

/// `[web]`
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Web {
    pub listen: SocketAddr,
    pub title: String,
    pub subtitle: String,
    pub columns: Vec<Column>,
    pub auth: WebAuth,
    pub map: WebMap,
}

/// `[web.auth]`
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebAuth {
    pub user: String,
    pub password: Secret,
    pub trusted_header: String,
}

/// `[web.map]`
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebMap {
    pub from: Vec<String>,
    pub to: Vec<String>,
    pub label: String,
    pub places: Vec<Place>,
}

/// One of `web.map.places`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    pub code: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    pub latitude: f64,
    pub longitude: f64,
}

/// One of `web.columns`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Column {
    pub title: String,
    pub value: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub align: Option<String>,
    /// A CSS length or percentage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<String>,
    /// `false`: left out on a phone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone: Option<bool>,
    /// Pointers of smaller text beneath the value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
}

/// `number/of`, from 1, as a number from 0 and how many there are; `None` when it is not that.
pub(crate) fn site(text: &str) -> Option<(u32, u32)> {
    let (number, of) = text.split_once('/')?;
    let (number, of): (u32, u32) = (number.trim().parse().ok()?, of.trim().parse().ok()?);
    (1..=of).contains(&number).then(|| (number - 1, of))
}

/// The most partitions a topic of ours may have.
pub(crate) const MOST_PARTITIONS: u32 = 4096;

/// Numbers written like `0,4-7`; `None` when they are not.
pub fn ranges(text: &str) -> Option<BTreeSet<u32>> {
    let mut numbers = BTreeSet::new();
    for part in text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
    {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if first > last || MOST_PARTITIONS <= last {
            return None;
        }
        numbers.extend(first..=last);
    }
    Some(numbers)
}

impl Config {
    /// Where the registries are: as listed, else the one of this file.
    pub fn registries(&self) -> Vec<String> {
        self.listed_or(&self.cluster.registries, self.registry.listen)
    }

    /// Where the joiners are: as listed, else the one of this file.
    pub fn joiners(&self) -> Vec<String> {
        self.listed_or(&self.cluster.joiners, self.joiner.listen)
    }

    /// Where the dispatchers are: as listed, else the one of this file.
    pub fn dispatchers(&self) -> Vec<String> {
        self.listed_or(&self.cluster.dispatchers, self.dispatcher.listen)
    }

    /// Where the publishers are: as listed, else the one of this file.
    pub fn publishers(&self) -> Vec<String> {
        self.listed_or(&self.cluster.publishers, self.publisher.listen)
    }

    fn listed_or(&self, listed: &[String], own: SocketAddr) -> Vec<String> {
        match listed {
            [] => vec![format!("{}{own}", self.cluster.tls.scheme())],
            listed => listed.to_vec(),
        }
    }
}

impl Kafka {
    /// The properties as they may be written down: without a secret that does not stand in a file or a variable.
    pub fn written_properties(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        secret::written_properties(&self.properties)
    }
}

impl Redis {
    /// `url` once for each host that it names. To be neither printed nor logged.
    pub fn urls(&self) -> Vec<String> {
        let url = self.url.reveal();
        match self.kind {
            RedisKind::Single => vec![url.to_owned()],
            RedisKind::Sentinel => hosts::urls(url, Some(SENTINEL_PORT)),
            RedisKind::Cluster => hosts::urls(url, None),
        }
    }
}

impl Registry {
    /// `serves` as partitions; `None`: all. `check` refuses what is not written like that.
    pub fn served(&self) -> Option<BTreeSet<u32>> {
        ranges(&self.serves).filter(|served| !served.is_empty())
    }

    /// `skip_records` as partition and offset. `check` refuses what is not written like that.
    pub fn skipped(&self) -> impl Iterator<Item = (u32, u64)> {
        self.skip_records.iter().filter_map(|place| record(place))
    }

    /// Where health and metrics are served.
    pub fn http(&self) -> SocketAddr {
        self.http_at.unwrap_or_else(|| beside(self.listen))
    }
}
impl Joiner {
    /// Where health and metrics are served.
    pub fn http(&self) -> SocketAddr {
        self.http_at.unwrap_or_else(|| beside(self.listen))
    }
}
impl Dispatcher {
    /// `site` as a number from 0, and how many there are. `check` refuses what is not written like that.
    pub fn sites(&self) -> Option<(u32, u32)> {
        site(&self.site)
    }

    /// Where health and metrics are served.
    pub fn http(&self) -> SocketAddr {
        self.http_at.unwrap_or_else(|| beside(self.listen))
    }
}
impl Publisher {
    /// Where health and metrics are served.
    pub fn http(&self) -> SocketAddr {
        self.http_at.unwrap_or_else(|| beside(self.listen))
    }
}

/// `partition/offset`.
pub(crate) fn record(place: &str) -> Option<(u32, u64)> {
    let (partition, offset) = place.split_once('/')?;
    Some((partition.parse().ok()?, offset.parse().ok()?))
}

/// The port + 100; a port that the system chooses stays one. `check` refuses ports too high for it.
fn beside(grpc: SocketAddr) -> SocketAddr {
    let port = if grpc.port() == 0 {
        0
    } else {
        grpc.port().saturating_add(HTTP_PORT_DISTANCE)
    };
    SocketAddr::new(grpc.ip(), port)
}

impl fmt::Debug for Kafka {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let properties = secret::shown_properties(&self.properties);
        f.debug_struct("Kafka")
            .field("bootstrap", &self.bootstrap)
            .field("properties", &properties)
            .finish()
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = secret::url::shown(&self.url);
        f.debug_struct("Redis")
            .field("kind", &self.kind)
            .field("url", &url)
            .field("password", &self.password)
            .field("max_rows", &self.max_rows)
            .field("timeout", &self.timeout)
            .field("tls", &self.tls)
            .field("sentinel", &self.sentinel)
            .finish()
    }
}
