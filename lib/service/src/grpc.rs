//! A gRPC server with what every one of ours has: health, reflection (v1 and v1alpha), keep-alive, bounds, a bounded drain.

use crate::Readiness;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(10);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_STREAMS: u32 = 1024;
/// Open calls get so long to finish; endless streams never do.
const DRAIN_WITHIN: Duration = Duration::from_secs(2);

/// A server that could not be made or kept.
#[derive(Debug, thiserror::Error)]
pub enum GrpcError {
    /// The descriptors are not descriptors.
    #[error("gRPC reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The transport failed.
    #[error("gRPC server: {0}")]
    Transport(#[from] tonic::transport::Error),
}

/// Serves `routes` until `shutdown`. Health follows the process's readiness.
///
/// # Errors
/// See [`GrpcError`].
pub async fn serve(
    listener: TcpListener,
    routes: Routes,
    descriptors: &'static [u8],
    readiness: Readiness,
    shutdown: CancellationToken,
) -> Result<(), GrpcError> {
    let (reporter, health) = tonic_health::server::health_reporter();
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(descriptors)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let serving = tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(KEEP_ALIVE_EVERY))
        .http2_keepalive_timeout(Some(KEEP_ALIVE_TIMEOUT))
        .max_concurrent_streams(MAX_STREAMS)
        .tcp_nodelay(true)
        .add_routes(routes)
        .add_service(health)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?)
        .serve_with_incoming_shutdown(
            TcpListenerStream::new(listener),
            shutdown.clone().cancelled_owned(),
        );
    tokio::select! {
        served = serving => Ok(served?),
        () = follow(readiness, reporter) => Ok(()),
        () = async { shutdown.cancelled().await; tokio::time::sleep(DRAIN_WITHIN).await } => Ok(()),
    }
}

/// Tells the health service what the readiness is, for as long as it is polled.
async fn follow(readiness: Readiness, reporter: HealthReporter) {
    let mut changes = readiness.watch();
    loop {
        let status = if *changes.borrow_and_update() {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        };
        reporter.set_service_status("", status).await;
        if changes.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::transport::Endpoint;
    use tonic_health::pb::health_client::HealthClient;
    use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus as Wire};

    #[tokio::test]
    async fn health_follows_readiness_and_the_server_stops() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (readiness, shutdown) = (Readiness::default(), CancellationToken::new());
        let component = readiness.component("x");
        let routes = Routes::default();
        let server = tokio::spawn(serve(
            listener,
            routes,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            readiness.clone(),
            shutdown.clone(),
        ));
        let mut client =
            HealthClient::new(Endpoint::from_shared(url).unwrap().connect().await.unwrap());
        let mut watch = client
            .watch(HealthCheckRequest::default())
            .await
            .unwrap()
            .into_inner();
        let mut next = async || watch.message().await.unwrap().unwrap().status();
        while next().await != Wire::NotServing {}
        component.ready();
        while next().await != Wire::Serving {}
        shutdown.cancel();
        tokio::time::timeout(Duration::from_secs(10), server)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
    }
}
