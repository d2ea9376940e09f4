//! Stands between a client and Redis and now and then answers with what was answered before (RULE 21).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A proxy that can be told to give an old answer.
pub struct ShiftingProxy {
    pub url: String,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    shift: AtomicBool,
    shifts: AtomicU32,
    connections: AtomicU32,
}

impl ShiftingProxy {
    pub async fn start(redis_port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("redis://{}", listener.local_addr().unwrap());
        let state = Arc::new(State::default());
        let shared = state.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                shared.connections.fetch_add(1, Ordering::Relaxed);
                let redis = TcpStream::connect(("127.0.0.1", redis_port)).await.unwrap();
                tokio::spawn(carry(client, redis, shared.clone()));
            }
        });
        Self { url, state }
    }

    /// The next answer comes one too late, after the one before it was given once more.
    pub fn shift(&self) {
        self.state.shift.store(true, Ordering::Relaxed);
    }

    /// How often that has happened.
    pub fn shifts(&self) -> u32 {
        self.state.shifts.load(Ordering::Relaxed)
    }

    pub fn connections(&self) -> u32 {
        self.state.connections.load(Ordering::Relaxed)
    }
}

async fn carry(client: TcpStream, redis: TcpStream, state: Arc<State>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_redis, mut to_redis) = redis.into_split();
    let requests = tokio::spawn(async move {
        let _ = tokio::io::copy(&mut from_client, &mut to_redis).await;
    });
    let (mut before, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
    while let Ok(n @ 1..) = from_redis.read(&mut buffer).await {
        // The script's answers are arrays of five; only these are worth giving twice.
        if before.starts_with(b"*5\r\n") && state.shift.swap(false, Ordering::Relaxed) {
            state.shifts.fetch_add(1, Ordering::Relaxed);
            if to_client.write_all(&before).await.is_err() {
                break;
            }
        }
        if to_client.write_all(&buffer[..n]).await.is_err() {
            break;
        }
        before = buffer[..n].to_vec();
    }
    requests.abort();
}
