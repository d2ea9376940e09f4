//! What every role says of itself: locally, over gRPC, and all of them together for the page.

mod control;
mod latency;
mod memory;
mod service;
mod token;
mod trouble;

pub use control::RegistryControl;
pub use latency::RecentLatency;
pub use service::{AdminService, Operated};
pub use token::Token;

use async_trait::async_trait;
use rtf_proto::client::failure;
use rtf_proto::pb;
use rtf_proto::pb::admin_client::AdminClient;
use rtf_service::Component;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use tonic::transport::{ClientTlsConfig, Endpoint};

const CONNECT_WITHIN: Duration = Duration::from_secs(1);
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// One role's report.
#[derive(Clone, Debug)]
pub struct Report {
    /// Its name.
    pub role: String,
    /// Its program's version; empty when it does not answer.
    pub version: String,
    /// How long it has been running.
    pub uptime: Duration,
    /// What its process takes of the machine's memory, bytes, where that is known.
    pub memory: Option<u64>,
    /// Whether it is ready.
    pub ready: bool,
    /// Why not.
    pub reason: String,
    /// Its figures, a JSON object.
    pub figures: Value,
}

/// Somebody who can be asked.
#[async_trait]
pub trait Reporter: Send + Sync + 'static {
    /// How it is, now.
    async fn report(&self) -> Report;
}

/// A role's figures, as it alone knows them.
#[async_trait]
pub trait Figures: Send + Sync + 'static {
    /// A JSON object.
    async fn figures(&self) -> Value;
}

/// A role in this process.
pub struct Local {
    role: &'static str,
    component: Component,
    started: Instant,
    figures: Arc<dyn Figures>,
}

impl Local {
    /// A role with its readiness and figures.
    pub fn new(role: &'static str, component: Component, figures: Arc<dyn Figures>) -> Arc<Self> {
        Arc::new(Self {
            role,
            component,
            started: Instant::now(),
            figures,
        })
    }
}

#[async_trait]
impl Reporter for Local {
    async fn report(&self) -> Report {
        let reason = self.component.reason();
        Report {
            role: self.role.into(),
            version: env!("CARGO_PKG_VERSION").into(),
            uptime: self.started.elapsed(),
            memory: memory::resident_bytes(),
            ready: reason.is_none(),
            reason: reason.unwrap_or_default(),
            figures: self.figures.figures().await,
        }
    }
}

/// A role in another process.
pub struct Remote {
    role: &'static str,
    url: String,
    tls: Option<ClientTlsConfig>,
}

impl Remote {
    /// The role behind this gRPC address.
    pub fn new(role: &'static str, url: String, tls: Option<ClientTlsConfig>) -> Arc<Self> {
        Arc::new(Self { role, url, tls })
    }

    async fn ask(&self) -> anyhow::Result<pb::StatusResponse> {
        let mut endpoint = Endpoint::from_shared(self.url.clone())?
            .connect_timeout(CONNECT_WITHIN)
            .timeout(ANSWER_WITHIN);
        if let Some(tls) = &self.tls {
            endpoint = endpoint.tls_config(tls.clone())?;
        }
        let mut client = AdminClient::new(endpoint.connect().await?);
        Ok(client.status(pb::StatusRequest {}).await?.into_inner())
    }
}

#[async_trait]
impl Reporter for Remote {
    async fn report(&self) -> Report {
        match self.ask().await {
            Ok(answer) => Report {
                role: answer.role,
                version: answer.version,
                uptime: Duration::from_millis(answer.uptime_ms),
                memory: Some(answer.memory_bytes).filter(|bytes| *bytes > 0),
                ready: answer.ready,
                reason: answer.reason,
                figures: serde_json::from_str(&answer.json).unwrap_or_default(),
            },
            Err(error) => Report {
                role: self.role.into(),
                version: String::new(),
                uptime: Duration::ZERO,
                memory: None,
                ready: false,
                reason: failure::hinted(format!("{} does not answer: {error:#}", self.url)),
                figures: json!({}),
            },
        }
    }
}

/// All roles' figures in one object, as the page and `rtf status --json` show them.
pub struct Together {
    reporters: Vec<Arc<dyn Reporter>>,
    last: Mutex<Option<(Instant, f64)>>,
}

impl Together {
    /// Of these.
    pub fn new(reporters: Vec<Arc<dyn Reporter>>) -> Self {
        Self {
            reporters,
            last: Mutex::default(),
        }
    }

    /// Every role's report.
    pub async fn reports(&self) -> Vec<Report> {
        futures::future::join_all(self.reporters.iter().map(|reporter| reporter.report())).await
    }

    /// The merged figures; a role's own stand at the top level, its state under `roles`.
    pub async fn merged(&self) -> Value {
        let reports = self.reports().await;
        let mut merged = Map::new();
        for report in &reports {
            if let Value::Object(figures) = &report.figures {
                merge(&mut merged, figures);
            }
        }
        merged.insert(
            "ready".into(),
            reports.iter().all(|report| report.ready).into(),
        );
        merged.insert("roles".into(), reports.iter().map(as_json).collect());
        let troubles = trouble::troubles(&reports, &merged);
        merged.insert("troubles".into(), json!(troubles));
        if let Some(joined) = merged.get("joined").and_then(Value::as_f64) {
            merged.insert("joins_per_second".into(), self.rate(joined).await.into());
        }
        Value::Object(merged)
    }

    /// Joins a second since the last question.
    async fn rate(&self, joined: f64) -> f64 {
        let now = Instant::now();
        match self.last.lock().await.replace((now, joined)) {
            Some((then, before)) if joined >= before => {
                (joined - before) / (now - then).as_secs_f64().max(0.001)
            }
            _ => 0.0,
        }
    }
}

#[async_trait]
impl rtf_web::StatusSource for Together {
    async fn status(&self) -> Value {
        self.merged().await
    }
}

/// Numbers of several processes of one role are added up, objects merged.
fn merge(into: &mut Map<String, Value>, figures: &Map<String, Value>) {
    for (key, value) in figures {
        match (into.get_mut(key), value) {
            (Some(Value::Object(known)), Value::Object(more)) => merge(known, more),
            (Some(Value::Number(known)), Value::Number(more)) => {
                let sum = known.as_f64().unwrap_or_default() + more.as_f64().unwrap_or_default();
                let whole = known.is_u64() && more.is_u64();
                into.insert(
                    key.clone(),
                    if whole {
                        (sum as u64).into()
                    } else {
                        sum.into()
                    },
                );
            }
            _ => {
                into.insert(key.clone(), value.clone());
            }
        }
    }
}

/// A report as JSON, without its figures.
pub fn as_json(report: &Report) -> Value {
    json!({
        "role": report.role, "version": report.version, "uptime_seconds": report.uptime.as_secs(),
        "memory_bytes": report.memory, "ready": report.ready, "reason": report.reason,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_several_processes_add_up() {
        let mut merged = Map::new();
        for figures in [
            json!({"joined": 1, "lag": {"t": {"0": 5}}}),
            json!({"joined": 2, "lag": {"t": {"0": 1, "1": 2}}}),
        ] {
            merge(&mut merged, figures.as_object().unwrap());
        }
        assert_eq!(
            Value::Object(merged),
            json!({"joined": 3, "lag": {"t": {"0": 6, "1": 2}}})
        );
    }
}
