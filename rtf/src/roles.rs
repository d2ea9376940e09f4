//! Composition: which roles run in this process, and how they reach the others.

use crate::admin::{
    AdminService, Figures, Local, Operated, RecentLatency, RegistryControl, Reporter, Together,
    Token,
};
use crate::whereabouts::{Dispatchers, Whereabouts};
use crate::{exit, grpc_tls, options, redis_client, status};
use anyhow::Context;
use async_trait::async_trait;
use metrics_exporter_prometheus::PrometheusHandle;
use rtf_config::{Config, Layout};
use rtf_dispatcher::{AGES, Dispatcher, DispatcherHandle};
use rtf_joiner::{JoinerRole, PartitionedRole};
use rtf_kafka::Settings;
use rtf_proto::client::{JoinerClient, RegistryClient, ranges};
use rtf_proto::{Joiner, Registry, pb};
use rtf_publisher::sink::{EmbeddedSink, KafkaSink, RedisSink};
use rtf_publisher::{Publisher, PublisherHandle};
use rtf_registry::Replica;
use rtf_rows::Rows;
use rtf_service::listen::listen;
use rtf_service::{Component, Readiness, Supervisor, grpc, http};
use rtf_traces::Exporting;
use rtf_web::{EmbeddedRows, RedisRows, RowSource, Sources};
use serde_json::{Map, Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::ServerTlsConfig;

/// All registries are asked so often what they serve.
const SERVED_EVERY: Duration = Duration::from_secs(2);

/// A role.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Who won.
    Registry,
    /// The event store and the join.
    Joiner,
    /// Reads the foreign topic.
    Dispatcher,
    /// Carries rows to the sink.
    Publisher,
    /// The page.
    Web,
}

impl Role {
    /// All of them, in the order they start.
    pub const ALL: [Self; 5] = [
        Self::Registry,
        Self::Joiner,
        Self::Dispatcher,
        Self::Publisher,
        Self::Web,
    ];

    /// As its command has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Registry => "registry",
            Self::Joiner => "joiner",
            Self::Dispatcher => "dispatcher",
            Self::Publisher => "publisher",
            Self::Web => "web",
        }
    }
}

/// Where rows go and are read from.
#[derive(Clone)]
pub enum Sink {
    /// As configured.
    Redis,
    /// This process's memory.
    Embedded(Rows),
}

/// Runs roles until SIGTERM or Ctrl-C.
///
/// # Errors
/// The first role that cannot go on, by name.
pub async fn run(config: &Config, roles: &[Role]) -> anyhow::Result<()> {
    let shutdown = rtf_service::shutdown::on_signals()?;
    for problem in config.check() {
        tracing::warn!("configuration: {problem}");
    }
    if roles.contains(&Role::Registry) && roles.len() > 1 && config.registry.served().is_some() {
        return Err(exit::usage(format!(
            "[registry].serves is `{}`, but the registry in `rtf run` is the only one its other roles ask: leave it empty, or run the roles apart",
            config.registry.serves
        )));
    }
    let settings = options::kafka(config);
    let ports = Ports::bind(config, roles).await?;
    let pipeline = Pipeline::open(
        config.clone(),
        settings,
        Sink::Redis,
        ports,
        roles,
        shutdown,
    )
    .await?;
    if let Some(address) = pipeline.web_address() {
        tracing::info!("the table is at http://{address}");
    }
    pipeline.run().await
}

/// Roles that are open and about to run.
pub struct Pipeline {
    supervisor: Supervisor,
    web: Option<SocketAddr>,
    traces: Option<Exporting>,
}

impl Pipeline {
    /// Opens the roles in the order they need each other, at ports that are bound already: those fail quickly, so they come first.
    ///
    /// # Errors
    /// A Kafka that does not answer, a log or a directory that cannot be used.
    pub async fn open(
        config: Config,
        settings: Settings,
        sink: Sink,
        ports: Ports,
        roles: &[Role],
        shutdown: CancellationToken,
    ) -> anyhow::Result<Self> {
        // A page alone is called by no role.
        let is_called = roles.iter().any(|role| !matches!(role, Role::Web));
        let tls = is_called.then(|| grpc_tls::server(&config)).transpose()?;
        let web = ports
            .web
            .as_ref()
            .map(TcpListener::local_addr)
            .transpose()?;
        let metrics = rtf_service::metrics::install();
        crate::metrics::describe();
        let traces = rtf_traces::install(&options::traces(&config, roles));
        let traces = traces.context("[telemetry.traces].endpoint")?;
        let mut composer = Composer {
            config,
            settings,
            sink,
            metrics: metrics.clone(),
            readiness: Readiness::default(),
            supervisor: Supervisor::new(shutdown),
            registry: None,
            joiner: None,
            dispatcher: None,
            reporters: Vec::new(),
            tls: tls.flatten(),
        };
        composer
            .supervisor
            .spawn("metrics", upkeep(metrics, composer.supervisor.shutdown()));
        composer.open(ports, roles).await?;
        Ok(Self {
            supervisor: composer.supervisor,
            web,
            traces,
        })
    }

    /// Where the page is, if it is served here.
    pub fn web_address(&self) -> Option<SocketAddr> {
        self.web
    }

    /// Runs until all have stopped.
    ///
    /// # Errors
    /// The first role that cannot go on, by name.
    pub async fn run(self) -> anyhow::Result<()> {
        let ended = self.supervisor.run().await;
        if let Some(traces) = self.traces {
            traces.finish().await;
        }
        ended
    }
}

async fn upkeep(metrics: PrometheusHandle, shutdown: CancellationToken) -> anyhow::Result<()> {
    tokio::select! {
        () = rtf_service::metrics::upkeep(metrics) => {}
        () = shutdown.cancelled() => {}
    }
    Ok(())
}

/// A role's gRPC port and its port for health and metrics.
type Pair = (TcpListener, TcpListener);

/// Where the roles listen, bound.
#[derive(Default)]
pub struct Ports {
    registry: Option<Pair>,
    joiner: Option<Pair>,
    dispatcher: Option<Pair>,
    publisher: Option<Pair>,
    web: Option<TcpListener>,
}

impl Ports {
    /// As configured.
    ///
    /// # Errors
    /// A port in use, an address that is not this machine's: with the key that says so.
    pub async fn bind(config: &Config, roles: &[Role]) -> anyhow::Result<Self> {
        let mut ports = Self::default();
        for role in roles {
            match role {
                Role::Registry => {
                    ports.registry = Some(
                        pair(config.registry.listen, config.registry.http(), "registry").await?,
                    )
                }
                Role::Joiner => {
                    ports.joiner =
                        Some(pair(config.joiner.listen, config.joiner.http(), "joiner").await?)
                }
                Role::Dispatcher => {
                    ports.dispatcher = Some(
                        pair(
                            config.dispatcher.listen,
                            config.dispatcher.http(),
                            "dispatcher",
                        )
                        .await?,
                    );
                }
                Role::Publisher => {
                    ports.publisher = Some(
                        pair(
                            config.publisher.listen,
                            config.publisher.http(),
                            "publisher",
                        )
                        .await?,
                    );
                }
                Role::Web => {
                    ports.web = Some(
                        listen(config.web.listen, "the page", "[web].listen (or --listen)").await?,
                    )
                }
            }
        }
        Ok(ports)
    }
}

async fn pair(grpc: SocketAddr, http: SocketAddr, role: &str) -> anyhow::Result<Pair> {
    let key = format!("[{role}].listen");
    let grpc = listen(grpc, &format!("the {role}'s gRPC"), &key).await?;
    let http = listen(
        http,
        &format!("the {role}'s health and metrics"),
        &format!("[{role}].http (it is the gRPC port + 100)"),
    )
    .await?;
    Ok((grpc, http))
}

struct Composer {
    config: Config,
    settings: Settings,
    sink: Sink,
    metrics: PrometheusHandle,
    readiness: Readiness,
    supervisor: Supervisor,
    registry: Option<Arc<dyn Registry>>,
    joiner: Option<Arc<dyn Joiner>>,
    dispatcher: Option<DispatcherHandle>,
    reporters: Vec<Arc<dyn Reporter>>,
    /// What the gRPC servers show, and demand.
    tls: Option<ServerTlsConfig>,
}

impl Composer {
    async fn open(&mut self, ports: Ports, roles: &[Role]) -> anyhow::Result<()> {
        if let Some(ports) = ports.registry {
            self.open_registry(ports).await?;
        }
        if let Some(ports) = ports.joiner {
            self.open_joiner(ports)?;
        }
        if let Some(ports) = ports.dispatcher {
            self.open_dispatcher(ports)?;
        }
        if let Some(ports) = ports.publisher {
            self.open_publisher(ports)?;
        }
        if let Some(port) = ports.web {
            self.open_web(port, roles)?;
        }
        Ok(())
    }

    /// The registry in this process, or the ones that are configured.
    fn registry(&mut self) -> anyhow::Result<Arc<dyn Registry>> {
        if let Some(known) = &self.registry {
            return Ok(known.clone());
        }
        let endpoints = grpc_tls::endpoints(&self.config, &self.config.registries());
        let client = RegistryClient::new(endpoints.context("[cluster].registries")?);
        let client = Arc::new(client);
        let component = self.readiness.component("registries");
        let watching = watch_served(client.clone(), component, self.supervisor.shutdown());
        self.supervisor.spawn("registries", watching);
        self.registry = Some(client.clone());
        Ok(client)
    }

    /// The joiner in this process, if it has all primaries that are asked for, or the ones that are configured.
    fn joiner(&self) -> anyhow::Result<Arc<dyn Joiner>> {
        let has_others = self.config.joiner.layout == Layout::Partitioned
            && !self.config.cluster.joiners.is_empty();
        if let Some(local) = self.joiner.as_ref().filter(|_| !has_others) {
            return Ok(local.clone());
        }
        let endpoints = grpc_tls::endpoints(&self.config, &self.config.joiners());
        Ok(Arc::new(JoinerClient::new(
            endpoints.context("[cluster].joiners")?,
        )))
    }

    async fn open_registry(&mut self, ports: Pair) -> anyhow::Result<()> {
        let component = self.readiness.component("registry");
        let (options, settings) = (options::registry(&self.config), self.settings.clone());
        component.not_ready("opening");
        let replica = tokio::task::spawn_blocking(move || Replica::open(&options, &settings))
            .await?
            .context("registry")?;
        component.not_ready("applying the join log");
        let handle = replica.handle();
        let control = RegistryControl::new(handle.clone(), component.clone());
        let port: Arc<dyn Registry> = Arc::new(handle);
        self.registry = Some(port.clone());
        let ready = control.clone();
        let (failing, shutdown) = (component.clone(), self.supervisor.shutdown());
        self.supervisor.spawn("registry", async move {
            let following = shutdown.clone();
            let follow = move || drop(tokio::spawn(ready.follow(following)));
            let ended = replica.run(follow, shutdown).await;
            ended.inspect_err(|failure| failing.failed(failure.to_string()))
        });
        let routes = Routes::new(rtf_registry::service(port.clone()));
        self.serve(
            "registry",
            ports,
            routes,
            component,
            Arc::new(RegistryFigures(port)),
            Operated::Registry(control),
        );
        Ok(())
    }

    fn open_joiner(&mut self, ports: Pair) -> anyhow::Result<()> {
        let component = self.readiness.component("joiner");
        let registry = self.registry()?;
        let mut options = options::joiner(&self.config);
        if self.settings.embedded {
            // Its topic ends with the process.
            options.data = None;
        }
        let (settings, shutdown) = (&self.settings, self.supervisor.shutdown());
        let told = component.clone();
        let on_readiness = move |readiness| match readiness {
            rtf_joiner::Readiness::Ready => told.ready(),
            rtf_joiner::Readiness::NotReady(reason) => told.not_ready(reason),
        };
        let port: Arc<dyn Joiner> = match options::joiner_group(&self.config) {
            None => {
                let role = JoinerRole::open(options, settings, registry)?;
                let port = Arc::new(role.handle());
                self.supervisor
                    .spawn("joiner", role.run(on_readiness, shutdown));
                port
            }
            Some(group) => {
                let role = PartitionedRole::open(options, group, settings, registry)?;
                let port = Arc::new(role.handle());
                self.supervisor
                    .spawn("joiner", role.run(on_readiness, shutdown));
                port
            }
        };
        self.joiner = Some(port.clone());
        let routes = Routes::new(rtf_joiner::service(port.clone()));
        self.serve(
            "joiner",
            ports,
            routes,
            component,
            Arc::new(JoinerFigures(port)),
            Operated::Nothing,
        );
        Ok(())
    }

    fn open_dispatcher(&mut self, ports: Pair) -> anyhow::Result<()> {
        let component = self.readiness.component("dispatcher");
        let mut options = options::dispatcher(&self.config);
        if self.settings.embedded {
            // It forgets what nobody reads: all wait in memory.
            options.parking = None;
        }
        let topic = options.topic.clone();
        let dispatcher = Dispatcher::new(
            options,
            self.settings.clone(),
            self.registry()?,
            self.joiner()?,
            component.clone(),
        )?;
        let handle = dispatcher.handle();
        self.dispatcher = Some(handle.clone());
        self.supervisor
            .spawn("dispatcher", dispatcher.run(self.supervisor.shutdown()));
        let operated = Operated::Dispatcher(handle.clone());
        let figures = Arc::new(DispatcherFigures { handle, topic });
        self.serve(
            "dispatcher",
            ports,
            Routes::default(),
            component,
            figures,
            operated,
        );
        Ok(())
    }

    fn open_publisher(&mut self, ports: Pair) -> anyhow::Result<()> {
        let component = self.readiness.component("publisher");
        let sink: Arc<dyn rtf_publisher::sink::Sink> = match &self.sink {
            Sink::Redis => {
                let redis = redis_client::open(&self.config)?;
                Arc::new(RedisSink::new(redis, options::redis(&self.config)))
            }
            Sink::Embedded(rows) => Arc::new(EmbeddedSink::new(rows.clone())),
        };
        let publisher = Publisher::new(
            options::publisher(&self.config),
            self.registry()?,
            sink,
            component.clone(),
        );
        let handle = publisher.handle();
        let shutdown = self.supervisor.shutdown();
        self.supervisor.spawn("publisher", async move {
            publisher.run(shutdown).await;
            anyhow::Ok(())
        });
        let letters = self.open_dead_letters()?;
        let figures = Arc::new(PublisherFigures {
            handle,
            letters,
            latency: RecentLatency::new(self.metrics.clone()),
        });
        self.serve(
            "publisher",
            ports,
            Routes::default(),
            component,
            figures,
            Operated::Nothing,
        );
        Ok(())
    }

    /// The other view of the log. The embedded broker has no transactions, and forgets with its process: there are none.
    fn open_dead_letters(&mut self) -> anyhow::Result<Option<PublisherHandle>> {
        if self.settings.embedded {
            return Ok(None);
        }
        let sink = KafkaSink::new(
            self.settings.clone(),
            options::dead_letter_topic(&self.config),
        );
        let publisher = Publisher::new(
            options::dead_letters(&self.config),
            self.registry()?,
            Arc::new(sink),
            self.readiness.component("dead letters"),
        );
        let handle = publisher.handle();
        let shutdown = self.supervisor.shutdown();
        self.supervisor.spawn("dead letters", async move {
            publisher.run(shutdown).await;
            anyhow::Ok(())
        });
        Ok(Some(handle))
    }

    /// Health, reflection, status, metrics: what every role but the page has on its two ports.
    fn serve(
        &mut self,
        name: &'static str,
        (rpc, web): Pair,
        routes: Routes,
        component: Component,
        figures: Arc<dyn Figures>,
        operated: Operated,
    ) {
        let local = Local::new(name, component, figures);
        self.reporters.push(local.clone());
        let shutdown = self.supervisor.shutdown();
        let token = Token::new(self.config.admin.token.reveal());
        let routes = routes.add_service(AdminService::serve(local, token, operated));
        let serving = grpc::serve(
            rpc,
            routes,
            pb::DESCRIPTORS,
            self.readiness.clone(),
            self.tls.clone(),
            shutdown.clone(),
        );
        self.supervisor.spawn("gRPC", serving);
        let health = http::health(self.readiness.clone(), self.metrics.clone());
        self.supervisor
            .spawn("HTTP", http::serve(web, health, shutdown));
    }

    /// The roles in this process where they are here, else those that are configured.
    fn whereabouts(&self) -> anyhow::Result<Whereabouts> {
        let (config, settings) = (&self.config, &self.settings);
        match (&self.registry, &self.dispatcher) {
            (Some(registry), Some(dispatcher)) => Ok(Whereabouts::new(
                config.clone(),
                settings.clone(),
                registry.clone(),
                Dispatchers::Here(dispatcher.clone()),
            )),
            _ => Whereabouts::remote(config, settings),
        }
    }

    fn open_web(&mut self, port: TcpListener, roles: &[Role]) -> anyhow::Result<()> {
        let component = self.readiness.component("web");
        let partitions = self.config.registry.partitions;
        let source: Arc<dyn RowSource> = match &self.sink {
            Sink::Redis => {
                let redis = redis_client::open(&self.config)?;
                Arc::new(RedisRows::new(redis, &self.config.join.name, partitions))
            }
            Sink::Embedded(rows) => Arc::new(EmbeddedRows::new(rows.clone(), partitions)),
        };
        // Alone it asks the other roles where the configuration says they are.
        let reporters = if roles.len() == 1 {
            status::remotes(&self.config)?
        } else {
            self.reporters.clone()
        };
        let sources = Sources {
            rows: source,
            status: Some(Arc::new(Together::new(reporters))),
            lookup: Some(Arc::new(self.whereabouts()?)),
        };
        let health = http::health(self.readiness.clone(), self.metrics.clone());
        let options = options::web(&self.config);
        let serving = rtf_web::run(options, sources, port, health, self.supervisor.shutdown());
        self.supervisor.spawn("web", serving);
        component.ready();
        Ok(())
    }
}

/// A process whose events may belong to a partition that no registry serves is not ready, and says which one that is.
async fn watch_served(
    registries: Arc<RegistryClient>,
    component: Component,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let watching = async {
        loop {
            match registries.check_served().await {
                Ok(()) => component.ready(),
                Err(error) => component.not_ready(error.to_string()),
            }
            tokio::time::sleep(SERVED_EVERY).await;
        }
    };
    tokio::select! {
        () = watching => {}
        () = shutdown.cancelled() => {}
    }
    Ok(())
}

struct RegistryFigures(Arc<dyn Registry>);

#[async_trait]
impl Figures for RegistryFigures {
    async fn figures(&self) -> Value {
        let Ok(status) = self.0.status().await else {
            return json!({});
        };
        let ids: u64 = status.served.iter().map(|partition| partition.ids).sum();
        let behind: u64 = status
            .served
            .iter()
            .map(|partition| partition.end - partition.applied)
            .sum();
        json!({
            "registry_ids": ids, "log": status.log.to_string(), "log_partitions": status.partitions,
            "log_behind": behind, "registry_disk_bytes": status.disk_bytes, "registries_paused": u64::from(status.paused),
            "incarnation": format!("{:016x}", status.incarnation),
        })
    }
}

struct JoinerFigures(Arc<dyn Joiner>);

#[async_trait]
impl Figures for JoinerFigures {
    async fn figures(&self) -> Value {
        let Ok(status) = self.0.status().await else {
            return json!({});
        };
        let mut figures = json!({
            "primaries": status.events, "primary_bytes": status.bytes, "primary_disk_bytes": status.disk_bytes, "wanted_keys": status.wanted,
            "malformed_primaries": status.malformed,
        });
        if let Some(share) = status.share {
            let (held, of) = (ranges(&share.held), share.partitions);
            figures["primary_partitions"] = format!("{held} of {of}").into();
        }
        figures
    }
}

struct DispatcherFigures {
    handle: DispatcherHandle,
    topic: String,
}

#[async_trait]
impl Figures for DispatcherFigures {
    async fn figures(&self) -> Value {
        let status = self.handle.status();
        let lag: Map<String, Value> = status
            .partitions
            .iter()
            .filter_map(|partition| Some((partition.partition.to_string(), partition.lag?.into())))
            .collect();
        let tally = status.tally;
        let parked: Map<String, Value> = status
            .parked
            .into_iter()
            .map(|tier| (tier.topic, tier.records.into()))
            .collect();
        json!({
            "joined": tally.joined, "malformed": tally.malformed, "duplicates": tally.already_resolved, "wasted": tally.wasted, "too_old": tally.too_old,
            "unjoinable": { "timed_out": tally.unjoinable - tally.row_too_large, "row_too_large": tally.row_too_large }, "parked": parked, "waiting": status.waiting, "waiting_bytes": status.waiting_bytes,
            "oldest_waiting_seconds": status.oldest_waiting.map_or(0.0, |age| age.as_secs_f64()),
            "waiting_by_age": by_age(&self.handle.waiting_by_age()), "in_flight": status.in_flight, "paused": status.paused,
            "dispatchers_paused": u64::from(self.handle.is_paused()), "lag": { self.topic.clone(): lag },
        })
    }
}

/// By the bound in seconds that they are below.
fn by_age(waiting: &[usize]) -> Map<String, Value> {
    let bounds = AGES.iter().map(|age| age.as_secs().to_string());
    let names = bounds.chain(["older".to_owned()]);
    names
        .zip(waiting)
        .map(|(name, events)| (name, (*events).into()))
        .collect()
}

struct PublisherFigures {
    handle: PublisherHandle,
    letters: Option<PublisherHandle>,
    latency: RecentLatency,
}

#[async_trait]
impl Figures for PublisherFigures {
    async fn figures(&self) -> Value {
        let lag = |handle: &PublisherHandle| -> u64 {
            let partitions = handle.partitions();
            partitions.iter().map(|partition| partition.lag).sum()
        };
        let [p50, p99] = self.latency.quantiles([0.5, 0.99]);
        json!({
            "publisher_lag": lag(&self.handle), "dead_letter_lag": self.letters.as_ref().map_or(0, lag),
            "latency_seconds": { "p50": p50, "p99": p99 },
        })
    }
}
