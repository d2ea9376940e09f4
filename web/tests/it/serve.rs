//! The server over a socket: routes of the caller, and a stop that does not wait for open streams.

use crate::support::{PATIENCE, Store, rows_only};
use axum::Router;
use axum::routing::get;
use rtf_web::{Options, run};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

async fn ask(address: std::net::SocketAddr, path: &str) -> TcpStream {
    let mut socket = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    socket
}

#[tokio::test]
async fn it_serves_the_callers_routes_and_stops_with_streams_open() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let extra = Router::new().route("/livez", get(async || "alive"));
    let store = Store::new();
    let server = tokio::spawn(run(
        Options::default(),
        rows_only(store.source()),
        listener,
        extra,
        stop.clone(),
    ));

    let mut answer = String::new();
    ask(address, "/livez")
        .await
        .read_to_string(&mut answer)
        .await
        .unwrap();
    assert!(answer.ends_with("alive"), "{answer}");

    let mut stream = ask(address, "/api/stream").await;
    let mut start = [0; 15];
    stream.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 200 OK");
    stop.cancel();
    let mut rest = Vec::new();
    timeout(Duration::from_secs(2), stream.read_to_end(&mut rest))
        .await
        .expect("the stream ends")
        .unwrap();
    timeout(PATIENCE, server)
        .await
        .expect("the server ends")
        .unwrap()
        .unwrap();
}
