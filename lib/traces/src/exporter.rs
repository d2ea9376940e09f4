//! Spans on their way to the collector: from where they end, through a bounded queue, to a task that sends them. Whoever ends a span never waits.

use crate::{Sampler, Span};
use metrics::{Counter, counter};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::tonic_types::transport::ClientTlsConfig;
use opentelemetry_otlp::{
    ExporterBuildError, OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT,
    WithExportConfig, WithTonicConfig,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::{EnvResourceDetector, TelemetryResourceDetector};
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use std::env;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Spans that wait to be sent; further ones are dropped.
const QUEUE_SPANS: usize = 8192;
/// Spans that are sent together, at the most: well below a gRPC message's bound.
const BATCH_SPANS: usize = 512;
/// So long spans are collected before they are sent together.
const LINGER: Duration = Duration::from_millis(500);
/// Between two warnings that spans are lost.
const WARN_EVERY: Duration = Duration::from_secs(60);
/// A process that ends waits so long for its last spans to be sent.
const FINISH_WITHIN: Duration = Duration::from_secs(2);

/// Where the service's name stands in the environment.
const SERVICE_NAME: &str = "OTEL_SERVICE_NAME";

/// What is traced, and who is told.
#[derive(Clone, PartialEq, Debug)]
pub struct Options {
    /// The collector, `http://host:port` or `https://host:port`. Empty: where OpenTelemetry's variables say; without those, nothing is traced.
    pub endpoint: String,
    /// The share of events that are traced, 0 to 1.
    pub share: f64,
    /// Whose events they are.
    pub pipeline: String,
    /// What this process is called, unless OpenTelemetry's variables say otherwise.
    pub service: String,
}

impl Options {
    /// The id of this event's trace, in hexadecimal digits, if it is traced and somebody is told.
    pub fn trace(&self, id: &str) -> Option<String> {
        self.collector()?;
        let trace = self.sampler().trace(id.as_bytes())?;
        Some(trace.to_string())
    }

    fn sampler(&self) -> Sampler {
        Sampler::new(&self.pipeline, self.share)
    }

    /// Where the collector is, if there is one.
    fn collector(&self) -> Option<String> {
        endpoint(&self.endpoint, |name| env::var(name).ok())
    }
}

/// Why nothing can be traced.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    /// The collector's address is none, or a variable of OpenTelemetry's cannot be read.
    #[error("the collector at `{endpoint}`")]
    Exporter {
        /// The address.
        endpoint: String,
        /// What is wrong.
        source: ExporterBuildError,
    },
    /// There is one already.
    #[error("the process traces already")]
    Twice,
}

/// Makes spans, and takes them when they have ended.
pub(crate) struct Tracer {
    sampler: Sampler,
    scope: InstrumentationScope,
    queue: mpsc::Sender<SpanData>,
    /// Spans that found the queue full since it was last said.
    overflow: &'static AtomicU64,
}

static TRACER: OnceLock<Tracer> = OnceLock::new();
static OVERFLOW: AtomicU64 = AtomicU64::new(0);

/// The process's, if it traces.
#[inline]
pub(crate) fn tracer() -> Option<&'static Tracer> {
    TRACER.get()
}

/// The task that sends spans.
#[derive(Debug)]
pub struct Exporting {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// Begins to trace, once per process and on its runtime; `None` when nobody is to be told.
///
/// # Errors
/// See [`TracesError`]. A collector that is away is no error.
pub fn install(options: &Options) -> Result<Option<Exporting>, TracesError> {
    let Some(endpoint) = options.collector() else {
        return Ok(None);
    };
    let exporter =
        exporter(&endpoint, &options.service).map_err(|source| TracesError::Exporter {
            endpoint: endpoint.clone(),
            source,
        })?;
    let (queue, spans) = mpsc::channel(QUEUE_SPANS);
    let tracer = Tracer {
        sampler: options.sampler(),
        scope: InstrumentationScope::builder("rtf")
            .with_version(env!("CARGO_PKG_VERSION"))
            .build(),
        queue,
        overflow: &OVERFLOW,
    };
    TRACER.set(tracer).map_err(|_| TracesError::Twice)?;
    tracing::info!(endpoint, share = options.share, "events are traced");
    let stop = CancellationToken::new();
    let sending = send(spans, exporter, &OVERFLOW, stop.clone());
    Ok(Some(Exporting {
        task: tokio::spawn(sending),
        stop,
    }))
}

/// As configured, else as the environment has it: the more particular variable wins.
fn endpoint(configured: &str, variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    let variables = [
        OTEL_EXPORTER_OTLP_TRACES_ENDPOINT,
        OTEL_EXPORTER_OTLP_ENDPOINT,
    ];
    std::iter::once(configured.to_owned())
        .chain(variables.into_iter().filter_map(variable))
        .find(|endpoint| !endpoint.is_empty())
}

fn exporter(
    endpoint: &str,
    service: &str,
) -> Result<opentelemetry_otlp::SpanExporter, ExporterBuildError> {
    let builder = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint);
    let mut exporter = if endpoint.starts_with("https://") {
        let tls = ClientTlsConfig::new().with_enabled_roots();
        builder.with_tls_config(tls).build()?
    } else {
        builder.build()?
    };
    exporter.set_resource(&resource(service));
    Ok(exporter)
}

/// What the environment says of the process wins over what it is called by itself.
fn resource(service: &str) -> Resource {
    let name = env::var(SERVICE_NAME).ok().filter(|name| !name.is_empty());
    let resource = Resource::builder_empty()
        .with_service_name(service.to_owned())
        .with_detectors(&[
            Box::new(TelemetryResourceDetector),
            Box::new(EnvResourceDetector::new()),
        ]);
    let named = name.map(|name| KeyValue::new("service.name", name));
    resource.with_attributes(named).build()
}

impl Tracer {
    pub(crate) fn begin(&self, name: &'static str, id: &[u8]) -> Option<Span> {
        let trace = self.sampler.trace(id)?;
        Some(Span::new(name, trace, id))
    }

    /// Puts it into the queue, or drops it.
    pub(crate) fn send(&self, span: Span) {
        // Closed is the queue of a process that ends.
        if self
            .queue
            .try_send(span.into_data(self.scope.clone()))
            .is_err()
        {
            self.overflow.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Exporting {
    /// Sends what has ended by now, within a bound. What ends later is dropped.
    pub async fn finish(self) {
        self.stop.cancel();
        if tokio::time::timeout(FINISH_WITHIN, self.task)
            .await
            .is_err()
        {
            tracing::warn!("the collector did not take the last spans in time");
        }
    }
}

/// Sends spans until `stop`, then what is left.
async fn send(
    mut spans: mpsc::Receiver<SpanData>,
    exporter: impl SpanExporter,
    overflow: &AtomicU64,
    stop: CancellationToken,
) {
    let outcome = |outcome: &'static str| counter!("rtf_trace_spans_total", "outcome" => outcome);
    let (exported, mut losses) = (outcome("exported"), Losses::new(outcome("dropped")));
    let mut batch = Vec::new();
    loop {
        let count = tokio::select! {
            count = spans.recv_many(&mut batch, BATCH_SPANS) => count,
            () = stop.cancelled(), if !spans.is_closed() => {
                spans.close();
                continue;
            }
        };
        if count == 0 {
            return;
        }
        match exporter.export(std::mem::take(&mut batch)).await {
            Ok(()) => exported.increment(count as u64),
            Err(error) => losses.add(count as u64, &error.to_string()),
        }
        let overflowed = overflow.swap(0, Ordering::Relaxed);
        losses.add(overflowed, "more spans than can be sent");
        losses.say();
        if count < BATCH_SPANS {
            let _ = tokio::time::timeout(LINGER, stop.cancelled()).await;
        }
    }
}

/// Spans that were dropped and not spoken of yet.
struct Losses {
    counter: Counter,
    spans: u64,
    /// Why the last of them were.
    words: String,
    said: Option<Instant>,
}

impl Losses {
    fn new(counter: Counter) -> Self {
        Self {
            counter,
            spans: 0,
            words: String::new(),
            said: None,
        }
    }

    fn add(&mut self, spans: u64, words: &str) {
        if spans > 0 {
            self.counter.increment(spans);
            self.spans += spans;
            self.words = words.to_owned();
        }
    }

    /// Warns of them, now and then.
    fn say(&mut self) {
        let was_said = self.said.is_some_and(|said| said.elapsed() < WARN_EVERY);
        if self.spans == 0 || was_said {
            return;
        }
        let (spans, reason) = (self.spans, self.words.as_str());
        tracing::warn!(spans, reason, "spans were dropped: traces are incomplete");
        self.spans = 0;
        self.said = Some(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
    use std::sync::{Arc, Mutex};

    /// A collector in miniature.
    #[derive(Clone, Default, Debug)]
    struct Collector {
        batches: Arc<Mutex<Vec<usize>>>,
        is_away: bool,
        hangs: bool,
    }

    impl SpanExporter for Collector {
        async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
            self.batches.lock().unwrap().push(batch.len());
            if self.hangs {
                std::future::pending::<()>().await;
            }
            if self.is_away {
                return Err(OTelSdkError::InternalFailure("away".into()));
            }
            Ok(())
        }
    }

    /// A tracer of all events, and the task behind it.
    fn tracing(collector: &Collector, room: usize) -> (Tracer, Exporting) {
        let (queue, spans) = mpsc::channel(room);
        let overflow: &'static AtomicU64 = Box::leak(Box::default());
        let stop = CancellationToken::new();
        let task = send(spans, collector.clone(), overflow, stop.clone());
        let tracer = Tracer {
            sampler: Sampler::new("clicks", 1.0),
            scope: InstrumentationScope::default(),
            queue,
            overflow,
        };
        let task = tokio::spawn(task);
        (tracer, Exporting { stop, task })
    }

    fn end(tracer: &Tracer, spans: usize) {
        for _ in 0..spans {
            let span = tracer.begin("join", b"7").expect("all are traced");
            tracer.send(span);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn all_that_ended_is_sent_also_at_the_end() {
        let collector = Collector::default();
        let (tracer, exporting) = tracing(&collector, 2 * BATCH_SPANS);
        end(&tracer, BATCH_SPANS + 3);
        exporting.finish().await;
        assert_eq!(*collector.batches.lock().unwrap(), [BATCH_SPANS, 3]);
        end(&tracer, 1);
        assert_eq!(tracer.overflow.load(Ordering::Relaxed), 1, "it is over");
    }

    #[tokio::test(start_paused = true)]
    async fn a_collector_that_is_away_costs_spans_and_nothing_else() {
        let collector = Collector {
            is_away: true,
            ..Collector::default()
        };
        let (tracer, exporting) = tracing(&collector, 10);
        for _ in 0..3 {
            end(&tracer, 2);
            tokio::time::sleep(LINGER * 2).await;
        }
        exporting.finish().await;
        assert_eq!(*collector.batches.lock().unwrap(), [2, 2, 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_collector_that_hangs_fills_the_queue_and_holds_nobody_up() {
        let collector = Collector {
            hangs: true,
            ..Collector::default()
        };
        let (tracer, exporting) = tracing(&collector, 10);
        end(&tracer, 1);
        tokio::time::sleep(LINGER).await;
        end(&tracer, 15);
        assert_eq!(tracer.overflow.load(Ordering::Relaxed), 5);
        // Within its bound: time is made up here.
        exporting.finish().await;
    }

    #[tokio::test(start_paused = true)]
    async fn losses_are_spoken_of_once_a_minute() {
        let mut losses = Losses::new(Counter::noop());
        let mut unsaid = || {
            losses.add(1, "away");
            losses.say();
            losses.spans
        };
        assert_eq!((unsaid(), unsaid(), unsaid()), (0, 1, 2));
        tokio::time::advance(WARN_EVERY).await;
        assert_eq!(unsaid(), 0);
    }

    #[test]
    fn the_configuration_wins_over_the_environment() {
        let environment = |name: &str| match name {
            OTEL_EXPORTER_OTLP_ENDPOINT => Some("http://general:4317".to_owned()),
            _ => None,
        };
        let found = |configured| endpoint(configured, environment);
        assert_eq!(found("http://a:1").as_deref(), Some("http://a:1"));
        assert_eq!(found("").as_deref(), Some("http://general:4317"));
        assert_eq!(endpoint("", |_| Some(String::new())), None);
        let particular = endpoint("", |name| Some(name.to_owned()));
        assert_eq!(
            particular.as_deref(),
            Some(OTEL_EXPORTER_OTLP_TRACES_ENDPOINT)
        );
    }

    #[test]
    fn what_is_traced_is_known_before() {
        let options = |endpoint: &str, share| Options {
            endpoint: endpoint.into(),
            share,
            pipeline: "clicks".into(),
            service: "rtf".into(),
        };
        let trace = options("http://a:1", 1.0).trace("click-1");
        assert_eq!(trace.as_deref(), Some("26b9b24e496cf2c9e04e9921d0203c3d"));
        assert_eq!(options("http://a:1", 0.0).trace("click-1"), None);
    }

    #[tokio::test]
    async fn an_address_that_is_none_is_refused() {
        assert!(exporter("not an address", "rtf").is_err());
        assert!(exporter("http://127.0.0.1:4317", "rtf").is_ok());
    }
}
