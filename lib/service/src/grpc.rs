//! A gRPC server with what every one of ours has: health, reflection (v1 and v1alpha), keep-alive, bounds, a bounded drain.

use crate::Readiness;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::ServerTlsConfig;
use tonic::transport::server::TcpIncoming;
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

/// Serves `routes`, over TLS if it is configured, until `shutdown`, then lets open calls finish within a bound. Health follows the process's readiness
/// and is "not serving" from the shutdown on.
///
/// # Errors
/// See [`GrpcError`].
pub async fn serve(
    listener: TcpListener,
    routes: Routes,
    descriptors: &'static [u8],
    readiness: Readiness,
    tls: Option<ServerTlsConfig>,
    shutdown: CancellationToken,
) -> Result<(), GrpcError> {
    let (reporter, health) = tonic_health::server::health_reporter();
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(descriptors)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    // The server's own settings of TCP do not reach a listener that is handed in.
    let connections = TcpIncoming::from(listener).with_nodelay(Some(true));
    let mut server = tonic::transport::Server::builder();
    if let Some(tls) = tls {
        server = server.tls_config(tls)?;
    }
    let serving = server
        .http2_keepalive_interval(Some(KEEP_ALIVE_EVERY))
        .http2_keepalive_timeout(Some(KEEP_ALIVE_TIMEOUT))
        .max_concurrent_streams(MAX_STREAMS)
        .add_routes(routes)
        .add_service(health)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?)
        .serve_with_incoming_shutdown(connections, shutdown.clone().cancelled_owned());
    tokio::select! {
        served = serving => Ok(served?),
        () = follow(readiness, reporter, shutdown.clone()) => Ok(()),
        () = async { shutdown.cancelled().await; tokio::time::sleep(DRAIN_WITHIN).await } => Ok(()),
    }
}

/// Tells the health service what the readiness is, until the shutdown; polled further it stays silent.
async fn follow(readiness: Readiness, reporter: HealthReporter, shutdown: CancellationToken) {
    let mut changes = readiness.watch();
    while !shutdown.is_cancelled() {
        let status = if *changes.borrow_and_update() {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        };
        reporter.set_service_status("", status).await;
        tokio::select! {
            // The readiness is held above: its changes do not end.
            _ = changes.changed() => {}
            () = shutdown.cancelled() => {}
        }
    }
    reporter
        .set_service_status("", ServingStatus::NotServing)
        .await;
    std::future::pending().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::task::JoinHandle;
    use tonic::transport::{Channel, Endpoint};
    use tonic_health::pb::health_client::HealthClient;
    use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus as Wire};
    use tonic_reflection::pb::{v1, v1alpha};

    struct Running {
        channel: Channel,
        readiness: Readiness,
        shutdown: CancellationToken,
        server: JoinHandle<Result<(), GrpcError>>,
    }

    impl Running {
        async fn start() -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}", listener.local_addr().unwrap());
            let (readiness, shutdown) = (Readiness::default(), CancellationToken::new());
            let server = tokio::spawn(serve(
                listener,
                Routes::default(),
                tonic_health::pb::FILE_DESCRIPTOR_SET,
                readiness.clone(),
                None,
                shutdown.clone(),
            ));
            let channel = Endpoint::from_shared(url).unwrap().connect().await.unwrap();
            Self {
                channel,
                readiness,
                shutdown,
                server,
            }
        }

        async fn stop(self) {
            self.shutdown.cancel();
            tokio::time::timeout(DRAIN_WITHIN * 5, self.server)
                .await
                .unwrap()
                .unwrap()
                .unwrap();
        }
    }

    #[tokio::test]
    async fn health_follows_readiness_until_the_server_stops() {
        let running = Running::start().await;
        let component = running.readiness.component("x");
        let mut watch = HealthClient::new(running.channel.clone())
            .watch(HealthCheckRequest::default())
            .await
            .unwrap()
            .into_inner();
        let mut next = async || watch.message().await.unwrap().unwrap().status();
        while next().await != Wire::NotServing {}
        component.ready();
        while next().await != Wire::Serving {}
        component.not_ready("away");
        while next().await != Wire::NotServing {}
        component.ready();
        while next().await != Wire::Serving {}
        // The watch is a call that never ends: it is told, and does not hold the server up.
        running.shutdown.cancel();
        while next().await != Wire::NotServing {}
        running.stop().await;
    }

    #[tokio::test]
    async fn reflection_lists_the_services_in_both_versions() {
        let running = Running::start().await;
        let ask = v1::ServerReflectionRequest {
            message_request: Some(v1::server_reflection_request::MessageRequest::ListServices(
                String::new(),
            )),
            ..Default::default()
        };
        let mut client =
            v1::server_reflection_client::ServerReflectionClient::new(running.channel.clone());
        let asked = client.server_reflection_info(tokio_stream::once(ask)).await;
        let answer = asked.unwrap().into_inner().message().await.unwrap();
        assert!(format!("{answer:?}").contains("grpc.health.v1.Health"));

        let ask = v1alpha::ServerReflectionRequest {
            message_request: Some(
                v1alpha::server_reflection_request::MessageRequest::ListServices(String::new()),
            ),
            ..Default::default()
        };
        let mut client =
            v1alpha::server_reflection_client::ServerReflectionClient::new(running.channel.clone());
        let asked = client.server_reflection_info(tokio_stream::once(ask)).await;
        let answer = asked.unwrap().into_inner().message().await.unwrap();
        assert!(format!("{answer:?}").contains("grpc.health.v1.Health"));
        running.stop().await;
    }

    #[tokio::test]
    async fn descriptors_that_are_none_are_refused() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (readiness, shutdown) = (Readiness::default(), CancellationToken::new());
        let served = serve(
            listener,
            Routes::default(),
            b"no",
            readiness,
            None,
            shutdown,
        )
        .await;
        assert!(matches!(served, Err(GrpcError::Reflection(_))));
    }
}
