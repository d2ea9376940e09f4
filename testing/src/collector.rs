//! A collector of OpenTelemetry's in miniature: takes spans over gRPC, and keeps them to be looked at.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

/// A span as it arrived.
#[derive(Clone, Debug)]
pub struct Span {
    /// Whose it is.
    pub service: String,
    /// What it is of.
    pub name: String,
    /// The trace's id in hexadecimal digits.
    pub trace: String,
    /// Its own.
    pub id: String,
    /// The parent's, empty if it has none.
    pub parent: String,
    /// ns since 1970.
    pub began: u64,
    /// ns since 1970.
    pub ended: u64,
    /// What is said of it.
    pub attributes: BTreeMap<String, String>,
    /// What happened in between.
    pub notes: Vec<String>,
}

/// Serves until it is dropped.
#[derive(Debug)]
pub struct Collector {
    address: SocketAddr,
    spans: Arc<Mutex<Vec<Span>>>,
    _runtime: Runtime,
}

impl Collector {
    /// Starts one, on a port that is free.
    pub fn start() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let address = listener.local_addr().context("the collector's address")?;
        let spans = Arc::<Mutex<Vec<Span>>>::default();
        let service = TraceServiceServer::new(Service(spans.clone()));
        let server = Server::builder().add_service(service);
        runtime.spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
        Ok(Self {
            address,
            spans,
            _runtime: runtime,
        })
    }

    /// What is configured as its address.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All spans that have arrived, by trace.
    pub fn traces(&self) -> BTreeMap<String, Vec<Span>> {
        let spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        let mut traces = BTreeMap::<String, Vec<Span>>::new();
        for span in spans.iter() {
            traces
                .entry(span.trace.clone())
                .or_default()
                .push(span.clone());
        }
        traces
    }
}

struct Service(Arc<Mutex<Vec<Span>>>);

#[tonic::async_trait]
impl TraceService for Service {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut spans = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for of_resource in request.into_inner().resource_spans {
            let resource = attributes(of_resource.resource.unwrap_or_default().attributes);
            let service = resource.get("service.name").cloned().unwrap_or_default();
            let of_scopes = of_resource.scope_spans.into_iter();
            let arrived = of_scopes.flat_map(|of_scope| of_scope.spans);
            spans.extend(arrived.map(|span| read(&service, span)));
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn read(service: &str, span: v1::Span) -> Span {
    Span {
        service: service.to_owned(),
        name: span.name,
        trace: digits(&span.trace_id),
        id: digits(&span.span_id),
        parent: digits(&span.parent_span_id),
        began: span.start_time_unix_nano,
        ended: span.end_time_unix_nano,
        attributes: attributes(span.attributes),
        notes: span.events.into_iter().map(|event| event.name).collect(),
    }
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn attributes(pairs: Vec<KeyValue>) -> BTreeMap<String, String> {
    let value = |pair: KeyValue| match pair.value.and_then(|value| value.value) {
        Some(Value::StringValue(text)) => (pair.key, text),
        Some(Value::IntValue(number)) => (pair.key, number.to_string()),
        other => (pair.key, format!("{other:?}")),
    };
    pairs.into_iter().map(value).collect()
}
