//! Health and metrics over HTTP: `/livez`, `/readyz`, `/metrics`.

use crate::Readiness;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use metrics_exporter_prometheus::PrometheusHandle;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Open connections get so long to finish.
const DRAIN_WITHIN: Duration = Duration::from_secs(3);

/// The three endpoints.
pub fn health(readiness: Readiness, metrics: PrometheusHandle) -> Router {
    let ready = Router::new()
        .route("/readyz", get(readyz))
        .with_state(readiness);
    let metrics = Router::new()
        .route("/metrics", get(render))
        .with_state(metrics);
    Router::new()
        .route("/livez", get(|| async { "alive\n" }))
        .merge(ready)
        .merge(metrics)
}

/// 200 when every component is ready, else 503; both say which is not, and why.
async fn readyz(State(readiness): State<Readiness>) -> impl IntoResponse {
    let ready = readiness.is_ready();
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let components: serde_json::Map<_, _> = readiness
        .components()
        .into_iter()
        .map(|(name, reason)| {
            (
                name.to_owned(),
                serde_json::json!({ "ready": reason.is_none(), "reason": reason }),
            )
        })
        .collect();
    (
        status,
        Json(serde_json::json!({ "ready": ready, "components": components })),
    )
}

async fn render(State(metrics): State<PrometheusHandle>) -> impl IntoResponse {
    (
        [(
            header::CONTENT_TYPE,
            "text/plain; version=0.0.4; charset=utf-8",
        )],
        crate::metrics::render(&metrics),
    )
}

/// Serves until `shutdown`, then lets open requests finish within a bound.
///
/// # Errors
/// The listener failed.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    let stop = shutdown.clone();
    let serving =
        axum::serve(listener, router).with_graceful_shutdown(async move { stop.cancelled().await });
    tokio::select! {
        served = async { serving.await } => served,
        () = async { shutdown.cancelled().await; tokio::time::sleep(DRAIN_WITHIN).await } => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use axum::routing::get as get_route;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tower::ServiceExt;

    async fn get(router: &Router, path: &str) -> (StatusCode, String) {
        let response = router
            .clone()
            .oneshot(Request::get(path).body(Body::empty()).unwrap())
            .await
            .unwrap();
        let status = response.status();
        let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn health_says_what_is_missing() {
        let readiness = Readiness::default();
        let router = health(readiness.clone(), crate::metrics::install());
        let component = readiness.component("registry");
        assert_eq!(get(&router, "/livez").await.0, StatusCode::OK);
        let (status, body) = get(&router, "/readyz").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(
            body.contains("registry") && body.contains("starting"),
            "{body}"
        );
        component.ready();
        assert_eq!(get(&router, "/readyz").await.0, StatusCode::OK);
        component.failed("disk full");
        let (status, body) = get(&router, "/readyz").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(body.contains("failed: disk full"), "{body}");
        assert_eq!(get(&router, "/livez").await.0, StatusCode::OK);
        assert_eq!(get(&router, "/metrics").await.0, StatusCode::OK);
    }

    async fn ask(address: std::net::SocketAddr, path: &str) -> tokio::net::TcpStream {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    #[tokio::test]
    async fn a_stop_lets_a_request_finish_and_waits_for_none_that_never_does() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (shutdown, go) = (CancellationToken::new(), CancellationToken::new());
        let arrived = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
        let (at_slow, at_never) = (arrived.clone(), arrived.clone());
        let waits = go.clone();
        let slow = get_route(move || async move {
            at_slow.add_permits(1);
            waits.cancelled().await;
            "done"
        });
        let never = get_route(move || async move {
            at_never.add_permits(1);
            std::future::pending::<()>().await;
        });
        let router = Router::new().route("/slow", slow).route("/never", never);
        let server = tokio::spawn(serve(listener, router, shutdown.clone()));
        let (mut slow, _never) = (ask(address, "/slow").await, ask(address, "/never").await);
        let _ = arrived.acquire_many(2).await.unwrap();
        shutdown.cancel();
        go.cancel();
        let mut answer = String::new();
        slow.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("done"), "{answer}");
        tokio::time::timeout(DRAIN_WITHIN * 5, server)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
    }
}
