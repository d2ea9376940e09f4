//! `rtf demo`: tweets that long for a vacation, joined with flight deals, live, with nothing installed beforehand.

mod redis_server;

use crate::cli::DemoArgs;
use crate::progress::Progress;
use crate::roles::{Pipeline, Ports, Role, Sink};
use crate::synth::{Pace, Topics, send};
use crate::{exit, out};
use anyhow::Context;
use redis_server::RedisServer;
use rtf_config::Config;
use rtf_kafka::{Cluster, Embedded, Sender, Settings};
use rtf_rows::{Limits, Rows};
use rtf_synth::{VACATION, Vacation, VacationParams};
use tokio_util::sync::CancellationToken;

const TOPIC_PARTITIONS: u32 = 4;
const LOG_PARTITIONS: u32 = 4;

/// The demonstration's configuration; everything else is default.
const CONFIG: &str = r#"
[join]
name = "vacation"
[join.foreign]
topic = "tweets"
id = ["/id_str"]
key = ["/user/location"]
time = "/created_at"
[join.primary]
topic = "deals"
id = ["/id"]
key = ["/departureAirportLocation"]
expires = "/departureTime"
[join.match]
policy = "best"
order_by = "/totalFare"
order = "asc"
limit = 3
[join.wait]
max = "2m"
[registry]
partitions = 4
[redis]
max_rows = 100000
[web]
subtitle = "People who long for a vacation, matched live with flights that leave from where they are."
columns = [
    { title = "Name", value = "/foreign/user/name" },
    { title = "Location", value = "/foreign/user/location" },
    { title = "Text", value = "/foreign/text" },
    { title = "Departure", value = "/primary/0/departureAirportCode", format = "airport", details = ["/primary/0/departureAirportLocation"] },
    { title = "Arrival", value = "/primary/0/arrivalAirportCode", format = "airport", details = ["/primary/0/arrivalAirportLocation"] },
    { title = "Price", value = "/primary/0/totalFare", format = "money", details = ["/primary/0/currency", "/primary/0/airline"] },
]
[web.map]
from = ["/primary/0/departureAirportCode"]
to = ["/primary/0/arrivalAirportCode"]
label = "/foreign/user/name"
"#;

/// Runs the demonstration until it is told to stop.
///
/// # Errors
/// A port in use, a Kafka or Redis that was named and is not there.
pub async fn run(args: DemoArgs) -> anyhow::Result<()> {
    let shutdown = rtf_service::shutdown::on_signals()?;
    let folder = tempfile::Builder::new()
        .prefix("ready-to-fly-")
        .tempdir()
        .context("a folder for the demonstration")?;
    let mut config = Config::from_toml(CONFIG).map_err(|e| exit::usage(e.to_string()))?;
    config.web.listen = args
        .listen
        .parse()
        .map_err(|_| exit::usage(format!("--listen {}: expected HOST:PORT", args.listen)))?;
    config.registry.data = folder.path().join("registry");
    config.joiner.data = folder.path().join("joiner");
    let ports = bind_ports(&mut config).await?;

    let broker = if args.kafka.is_none() {
        Some(embedded()?)
    } else {
        None
    };
    let settings = match (&broker, &args.kafka) {
        (Some(broker), _) => broker.settings(),
        (None, kafka) => Settings {
            bootstrap: kafka.clone().unwrap_or_default(),
            ..Settings::default()
        },
    };
    config.kafka.bootstrap.clone_from(&settings.bootstrap);
    let server = redis(&args, &mut config, folder.path())?;
    let sink = match (&args.redis, &server) {
        (None, None) => Sink::Embedded(Rows::new(Limits::for_partitions(LOG_PARTITIONS))),
        _ => Sink::Redis,
    };
    make_topics(&settings).await?;

    let generator = Generator {
        settings: settings.clone(),
        args_seed: args.seed,
        rate: args.rate,
    };
    let stop = shutdown.clone();
    let feeding = tokio::task::spawn_blocking(move || generator.run(&stop));
    let pipeline =
        Pipeline::open(config, settings, sink, ports, &Role::ALL, shutdown.clone()).await?;
    announce(&pipeline, broker.is_some(), server.is_some(), &args)?;
    let ran = pipeline.run().await;
    shutdown.cancel();
    let fed = feeding.await.context("the generator panicked")?;
    ran.and(fed)
}

/// Binds the default ports if they are free, so that `rtf status` and `rtf lookup` find the roles; else any. They are held from here on:
/// between a look and a use another demonstration may take them.
async fn bind_ports(config: &mut Config) -> anyhow::Result<Ports> {
    if let Ok(ports) = Ports::bind(config, &Role::ALL).await {
        return Ok(ports);
    }
    for listen in [
        &mut config.registry.listen,
        &mut config.joiner.listen,
        &mut config.dispatcher.listen,
        &mut config.publisher.listen,
    ] {
        listen.set_port(0);
    }
    // That of the page is as it was told, and fails again if it was that one.
    let ports = Ports::bind(config, &Role::ALL).await?;
    tracing::info!("ports 7401 to 7404 or 7501 to 7504 are in use; the roles listen on others");
    Ok(ports)
}

fn embedded() -> anyhow::Result<Embedded> {
    let broker = Embedded::start()?;
    for (topic, partitions) in [
        (VACATION.foreign.topic.to_owned(), TOPIC_PARTITIONS),
        (VACATION.primary.topic.to_owned(), TOPIC_PARTITIONS),
        (rtf_proto::naming::log_topic(VACATION.name), LOG_PARTITIONS),
    ] {
        broker.create_topic(&topic, partitions)?;
    }
    Ok(broker)
}

/// The Redis that was named, or a server of our own, or none.
fn redis(
    args: &DemoArgs,
    config: &mut Config,
    folder: &std::path::Path,
) -> anyhow::Result<Option<RedisServer>> {
    if let Some(url) = &args.redis {
        config.redis.url = url.clone().into();
        return Ok(None);
    }
    if args.no_redis {
        return Ok(None);
    }
    let server = RedisServer::start(folder)?;
    if let Some(server) = &server {
        config.redis.url = server.url().into();
    }
    Ok(server)
}

async fn make_topics(settings: &Settings) -> anyhow::Result<()> {
    let settings = settings.clone();
    tokio::task::spawn_blocking(move || {
        let cluster = Cluster::connect(&settings)?;
        for topic in [VACATION.foreign.topic, VACATION.primary.topic] {
            cluster.ensure_topic(topic, TOPIC_PARTITIONS, None, &[])?;
        }
        Ok(())
    })
    .await?
}

struct Generator {
    settings: Settings,
    args_seed: u64,
    rate: std::num::NonZeroU32,
}

impl Generator {
    /// Sends deals and tweets until told to stop. Blocking.
    fn run(&self, shutdown: &CancellationToken) -> anyhow::Result<()> {
        let params = VacationParams {
            seed: self.args_seed,
            start_ms: chrono::Utc::now().timestamp_millis(),
            per_second: self.rate,
            ..VacationParams::default()
        };
        let events = Vacation::new(params)?.events();
        let sender = Sender::open(&self.settings)?;
        let topics = Topics {
            foreign: VACATION.foreign.topic.into(),
            primary: VACATION.primary.topic.into(),
        };
        send(
            &sender,
            &topics,
            events,
            Pace::ByTime,
            &Progress::hidden(),
            shutdown,
        )?;
        Ok(())
    }
}

fn announce(
    pipeline: &Pipeline,
    embedded_broker: bool,
    own_redis: bool,
    args: &DemoArgs,
) -> anyhow::Result<()> {
    let address = pipeline
        .web_address()
        .map_or_else(|| args.listen.clone(), |address| address.to_string());
    let kafka = args
        .kafka
        .as_deref()
        .unwrap_or("an embedded broker, in memory");
    let redis = match &args.redis {
        Some(url) => url.as_str(),
        None if own_redis => "a redis-server of its own, in memory",
        None => "an embedded store, in memory",
    };
    out::line(format_args!(
        "\n  Ready To Fly: http://{address}\n\n  Kafka: {kafka}\n  Rows:  {redis}\n  Ctrl-C ends it.\n"
    ))?;
    if embedded_broker {
        out::line(
            "  This is for trying out: the embedded broker keeps a few MB and nothing outlives the process.\n",
        )?;
    }
    Ok(())
}
