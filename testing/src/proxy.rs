//! A TCP proxy that can hold back one way of a connection: what is cut off then neither closes nor answers, as in a network that
//! loses packets. Nothing is lost: what was held back comes late, unless somebody hung up meanwhile.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

const BUFFER_BYTES: usize = 64 * 1024;

/// A way through the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the client to the server.
    Requests,
    /// From the server to the client.
    Answers,
}

/// The way held back now, if any.
type Gate = watch::Receiver<Option<Way>>;

/// A proxy; dropped, its connections are closed.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    held: watch::Sender<Option<Way>>,
    server: watch::Sender<SocketAddr>,
    _runtime: Runtime,
}

impl Proxy {
    /// Passes connections to `port` on to the port `server`, both on 127.0.0.1.
    pub fn start(port: u16, server: u16) -> Result<Self> {
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self::between(local(port), local(server))
    }

    /// Passes connections to `listen` on to `server`.
    pub fn between(listen: SocketAddr, server: SocketAddr) -> Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_io()
            .build()?;
        let (held, gate) = watch::channel(None);
        let (server, target) = watch::channel(server);
        let listener = runtime.block_on(TcpListener::bind(listen))?;
        let port = listener.local_addr()?.port();
        runtime.spawn(accept(listener, target, gate));
        Ok(Self {
            port,
            held,
            server,
            _runtime: runtime,
        })
    }

    /// The port that clients connect to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Holds back everything that goes this way.
    pub fn hold(&self, way: Way) {
        self.held.send_replace(Some(way));
    }

    /// Closes all connections; new ones are passed on to `server`.
    pub fn lead_to(&self, server: SocketAddr) {
        self.server.send_replace(server);
    }

    /// Lets everything pass.
    pub fn release(&self) {
        self.held.send_replace(None);
    }
}

async fn accept(listener: TcpListener, server: watch::Receiver<SocketAddr>, gate: Gate) {
    loop {
        // A connection that broke before it was taken is its client's affair.
        if let Ok((client, _)) = listener.accept().await {
            tokio::spawn(connect(client, server.clone(), gate.clone()));
        }
    }
}

/// Ends with the side that hangs up first; then both are closed.
async fn connect(
    client: TcpStream,
    mut target: watch::Receiver<SocketAddr>,
    gate: Gate,
) -> io::Result<()> {
    let address = *target.borrow_and_update();
    let server = TcpStream::connect(address).await?;
    for stream in [&client, &server] {
        stream.set_nodelay(true)?;
    }
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        ended = pump(from_client, to_server, Way::Requests, gate.clone()) => ended,
        ended = pump(from_server, to_client, Way::Answers, gate) => ended,
        _ = target.changed() => Ok(()),
    }
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    way: Way,
    mut gate: Gate,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let bytes = from.read(&mut buffer).await?;
        if bytes == 0 {
            return Ok(());
        }
        if gate.wait_for(|held| *held != Some(way)).await.is_err() {
            return Ok(()); // The proxy is gone.
        }
        to.write_all(&buffer[..bytes]).await?;
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::time::Duration;

    use super::*;
    use crate::free_port;

    const SHORT: Duration = Duration::from_millis(100);
    const LONG: Duration = Duration::from_secs(20);

    fn connected() -> (Proxy, std::net::TcpStream, std::net::TcpStream) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let server = listener.local_addr().unwrap().port();
        let proxy = Proxy::start(free_port().unwrap(), server).unwrap();
        let client = std::net::TcpStream::connect(("127.0.0.1", proxy.port())).unwrap();
        (proxy, client, listener.accept().unwrap().0)
    }

    fn arrives(stream: &mut std::net::TcpStream, within: Duration) -> bool {
        stream.set_read_timeout(Some(within)).unwrap();
        let mut byte = [0];
        stream
            .read_exact(&mut byte)
            .inspect_err(|error| assert_eq!(error.kind(), io::ErrorKind::WouldBlock))
            .is_ok()
    }

    #[test]
    fn one_way_is_held_back_and_comes_late() {
        let (proxy, mut client, mut server) = connected();
        client.write_all(b"q").unwrap();
        assert!(arrives(&mut server, LONG));

        proxy.hold(Way::Answers);
        server.write_all(b"a").unwrap();
        client.write_all(b"q").unwrap();
        assert!(arrives(&mut server, LONG));
        assert!(!arrives(&mut client, SHORT));

        proxy.hold(Way::Requests);
        assert!(arrives(&mut client, LONG));
        client.write_all(b"q").unwrap();
        assert!(!arrives(&mut server, SHORT));
        proxy.release();
        assert!(arrives(&mut server, LONG));
    }

    #[test]
    fn who_hangs_up_is_heard_of() {
        let (_proxy, client, mut server) = connected();
        drop(client);
        server.set_read_timeout(Some(LONG)).unwrap();
        assert_eq!(server.read(&mut [0]).unwrap(), 0);
    }
}
