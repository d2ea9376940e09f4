//! SIGTERM and Ctrl-C: the first asks, the second insists.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A token that is cancelled by the first SIGTERM or SIGINT; a second one ends the process at once.
///
/// # Errors
/// The handlers could not be installed.
pub fn on_signals() -> std::io::Result<CancellationToken> {
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let token = CancellationToken::new();
    let cancel = token.clone();
    tokio::spawn(async move {
        let mut next = async || {
            tokio::select! {
                _ = terminate.recv() => ("SIGTERM", 143),
                _ = interrupt.recv() => ("SIGINT", 130),
            }
        };
        let (signal, _) = next().await;
        tracing::info!(signal, "stopping; a second signal ends it at once");
        cancel.cancel();
        let (_, code) = next().await;
        std::process::exit(code);
    });
    Ok(token)
}
