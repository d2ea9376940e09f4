//! Binding a port, with an error that says what to do.

use std::io::ErrorKind;
use std::net::SocketAddr;
use tokio::net::TcpListener;

/// A port that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} for {what}: {words}")]
pub struct ListenError {
    address: SocketAddr,
    what: String,
    words: String,
}

/// Listens; `what` and `key` (the configuration's) stand in the error.
///
/// # Errors
/// The port is taken, or the address is not one of this machine's.
pub async fn listen(
    address: SocketAddr,
    what: &str,
    key: &str,
) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address).await.map_err(|error| {
        let words = match error.kind() {
            ErrorKind::AddrInUse => {
                format!("the port is in use by another process; stop that one, or choose another port with {key}")
            }
            ErrorKind::PermissionDenied => format!("permission denied; choose a port above 1023 with {key}"),
            ErrorKind::AddrNotAvailable => format!("this machine has no such address; correct {key}"),
            _ => error.to_string(),
        };
        ListenError { address, what: what.into(), words }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_taken_port_is_named_with_the_key_to_change() {
        let first = listen("127.0.0.1:0".parse().unwrap(), "the page", "web.listen")
            .await
            .unwrap();
        let address = first.local_addr().unwrap();
        let words = listen(address, "the page", "web.listen")
            .await
            .unwrap_err()
            .to_string();
        assert!(
            words.contains(&address.to_string())
                && words.contains("in use")
                && words.contains("web.listen"),
            "{words}"
        );
    }
}
