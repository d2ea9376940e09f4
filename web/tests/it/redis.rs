//! The web over a real redis-server, which is stopped, emptied and started again under open pages.

use crate::support::{PARTITIONS, PATIENCE, Site, of, row};
use axum::http::StatusCode;
use redis::{Client, Commands, Connection};
use rtf_web::{Cursor, RedisRows, RowSource};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const NAME: &str = "vacation";

/// A redis-server of one test, on a port and in a folder of its own.
struct Server {
    port: u16,
    folder: TempDir,
    process: Option<Child>,
}

impl Server {
    fn new() -> Self {
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        Self {
            port,
            folder: tempfile::tempdir().unwrap(),
            process: None,
        }
    }

    fn started() -> Self {
        let mut server = Self::new();
        server.start();
        server
    }

    /// Starts it with what its append-only file holds.
    fn start(&mut self) {
        let port = self.port.to_string();
        let process = Command::new("redis-server")
            .args([
                "--port",
                &port,
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--appendonly",
                "yes",
            ])
            .args(["--appendfsync", "always", "--dir"])
            .arg(self.folder.path())
            .stdout(Stdio::null())
            .spawn()
            .expect(
                "these tests need redis-server on the PATH (Debian: apt-get install redis-server)",
            );
        self.process = Some(process);
        self.connection();
    }

    fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    fn connection(&self) -> Connection {
        let client = Client::open(self.url()).unwrap();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let connection = client.get_connection();
            if let Ok(mut connection) = connection
                && redis::cmd("PING").query::<String>(&mut connection).is_ok()
            {
                return connection;
            }
            assert!(
                Instant::now() < deadline,
                "redis-server does not answer on port {}",
                self.port
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn fill(&self, partition: u32, offsets: impl IntoIterator<Item = u64>) {
        let mut connection = self.connection();
        for offset in offsets {
            let row = row(partition, offset, offset as i64, "k", "t");
            put(&mut connection, partition, offset, "row", &row);
        }
    }

    /// What a publisher says when there are more streams.
    fn split(&self, partitions: u32) {
        let key = format!("{NAME}:partitions");
        self.connection().set::<_, _, ()>(key, partitions).unwrap();
    }

    fn flush(&self) {
        redis::cmd("FLUSHALL").exec(&mut self.connection()).unwrap();
    }

    fn source(&self) -> Arc<dyn RowSource> {
        let client = redis::Client::open(self.url()).unwrap();
        Arc::new(RedisRows::new(client.into(), NAME, PARTITIONS))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn put(connection: &mut Connection, partition: u32, offset: u64, field: &str, row: &[u8]) {
    let (stream, id) = (
        format!("{NAME}:joined:{{{partition}}}"),
        format!("{offset}-0"),
    );
    connection
        .xadd::<_, _, _, _, ()>(stream, id, &[(field, row)])
        .unwrap();
}

fn places(chunk: &rtf_web::Chunk) -> Vec<u64> {
    chunk.rows.iter().map(|row| row.offset).collect()
}

#[tokio::test]
async fn streams_are_read_both_ways() {
    let server = Server::started();
    server.fill(0, [1, 2, 5, 9]);
    server.fill(2, [3]);
    let source = server.source();
    assert_eq!(source.ends().await.unwrap(), "0:9,2:3".parse().unwrap());

    let chunks = source
        .before(&[(0, 9), (1, 7), (2, 0), (0, 2), (9, 9)], 2)
        .await
        .unwrap();
    assert_eq!(
        chunks.iter().map(places).collect::<Vec<_>>(),
        [vec![5, 2], vec![], vec![], vec![1], vec![]]
    );
    assert_eq!((chunks[0].rest, chunks[3].rest), (Some(2), None));

    let page = source
        .after(&"0:2".parse().unwrap(), 9, Duration::ZERO)
        .await
        .unwrap();
    let seen: Vec<_> = page
        .rows
        .iter()
        .map(|row| (row.partition, row.offset))
        .collect();
    assert_eq!((of(0, &seen), of(2, &seen)), (vec![5, 9], vec![3]));
    assert_eq!(page.cursor, "0:9,2:3".parse().unwrap());
    let page = source
        .after(&page.cursor, 9, Duration::from_millis(30))
        .await
        .unwrap();
    assert!(page.rows.is_empty());
    assert!(
        source
            .after(&Cursor::default(), 9, Duration::ZERO)
            .await
            .unwrap()
            .rows
            .len()
            == 5
    );
}

#[tokio::test]
async fn entries_that_are_no_rows_are_passed_over() {
    let server = Server::started();
    let mut connection = server.connection();
    put(&mut connection, 0, 1, "row", b"not json");
    put(&mut connection, 0, 2, "other", b"{}");
    put(&mut connection, 0, 3, "row", &row(0, 3, 3, "k", "t"));
    let source = server.source();
    let page = source
        .after(&Cursor::default(), 9, Duration::ZERO)
        .await
        .unwrap();
    assert_eq!((page.rows.len(), page.cursor.get(0)), (1, Some(3)));
    assert_eq!(places(&source.before(&[(0, 9)], 9).await.unwrap()[0]), [3]);
}

#[tokio::test]
async fn a_key_of_another_type_is_an_error_that_says_so() {
    let server = Server::started();
    server
        .connection()
        .set::<_, _, ()>(format!("{NAME}:joined:{{0}}"), "text")
        .unwrap();
    let (status, body) = Site::over(server.source()).json("/api/rows").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    let words = body["error"].as_str().unwrap();
    assert!(
        words.starts_with("Redis cannot be read:") && words.contains("WRONGTYPE"),
        "{words}"
    );
}

/// Large rows are read in small portions, and still all of them.
#[tokio::test]
async fn large_rows_are_read_in_portions() {
    let server = Server::started();
    let mut connection = server.connection();
    for offset in 1..=40 {
        put(
            &mut connection,
            0,
            offset,
            "row",
            &row(0, offset, 1, "k", &"x".repeat(900_000)),
        );
    }
    let source = server.source();
    let (mut cursor, mut seen) = (Cursor::default(), Vec::new());
    let mut calls = 0;
    while seen.len() < 40 {
        let page = source.after(&cursor, 64, Duration::ZERO).await.unwrap();
        seen.extend(page.rows.iter().map(|row| row.offset));
        cursor = page.cursor;
        calls += 1;
        let again = source
            .after(&Cursor::default(), 64, Duration::ZERO)
            .await
            .unwrap();
        assert!(
            again.rows.len() <= 9,
            "an answer of {} MB",
            again.rows.len()
        );
    }
    assert_eq!(seen, (1..=40).collect::<Vec<_>>());
    assert!(calls >= 1);
}

#[tokio::test]
async fn a_restart_under_an_open_page_leaves_no_gap_and_no_repeat() {
    let mut server = Server::started();
    server.fill(0, 1..10);
    server.fill(1, 1..10);
    let site = Site::over(server.source());
    let mut events = site.stream("/api/stream?after=-", None).await;
    events.rows(18).await;

    server.stop();
    events.store(false).await;
    let (status, body) = site.json("/api/rows").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(
        body["error"]
            .as_str()
            .unwrap()
            .starts_with("Redis cannot be read"),
        "{body}"
    );
    let (_, body) = site.json("/api/status").await;
    assert_eq!(body["web"]["store"]["ok"], false);
    // Another browser comes back while Redis is away.
    let mut other = site.stream("/api/stream", Some("0:4,1:9")).await;

    server.start();
    events.store(true).await;
    server.fill(0, 10..20);
    assert_eq!(of(0, events.rows(28).await), (1..20).collect::<Vec<_>>());
    assert_eq!(of(1, &events.seen), (1..10).collect::<Vec<_>>());
    assert_eq!(of(0, other.rows(15).await), (5..20).collect::<Vec<_>>());
    assert!(of(1, &other.seen).is_empty());
    assert_eq!(site.json("/api/rows").await.0, StatusCode::OK);
}

#[tokio::test]
async fn rows_are_seen_again_after_a_flush() {
    let server = Server::started();
    server.fill(0, 1..10);
    server.fill(1, 1..4);
    let site = Site::over(server.source());
    let mut events = site.stream("/api/stream?after=-", None).await;
    events.rows(12).await;
    server.flush();
    // Refilled from the log's beginning, as the publisher does, and a little short of where it was.
    server.fill(0, 1..6);
    assert_eq!(of(0, events.rows(17).await)[9..], [1, 2, 3, 4, 5]);
    server.fill(0, 6..12);
    server.fill(1, 1..6);
    let seen = events.rows(28).await;
    assert_eq!(of(0, seen)[9..], (1..12).collect::<Vec<_>>());
    assert_eq!(of(1, seen).last(), Some(&5));
}

#[tokio::test]
async fn redis_may_come_later_than_the_page() {
    let mut server = Server::new();
    let site = Site::over(server.source());
    assert_eq!(site.get("/").await.status(), StatusCode::OK);
    assert_eq!(
        site.json("/api/rows").await.0,
        StatusCode::SERVICE_UNAVAILABLE
    );
    assert_eq!(
        site.get("/api/stream").await.status(),
        StatusCode::SERVICE_UNAVAILABLE
    );
    let mut events = site.stream("/api/stream?after=-", None).await;
    server.start();
    server.fill(0, 1..3);
    assert_eq!(of(0, events.rows(2).await), [1, 2]);
}

#[tokio::test]
async fn a_page_follows_a_log_that_is_split() {
    let server = Server::started();
    server.fill(0, 1..10);
    let site = Site::over(server.source());
    let mut events = site.stream("/api/stream?after=-", None).await;
    events.rows(9).await;
    server.split(2 * PARTITIONS);
    server.fill(PARTITIONS + 1, 1..5);
    assert_eq!(of(PARTITIONS + 1, events.rows(13).await), [1, 2, 3, 4]);
    // A browser that was away since before the split misses nothing of the new streams.
    let mut other = site.stream("/api/stream", Some("0:9")).await;
    assert_eq!(of(PARTITIONS + 1, other.rows(4).await), [1, 2, 3, 4]);
    let (_, body) = site.json("/api/rows").await;
    assert_eq!(body["rows"].as_array().unwrap().len(), 13);

    // Redis forgets, the publisher fills it again.
    server.flush();
    server.split(2 * PARTITIONS);
    server.fill(PARTITIONS + 1, 1..6);
    assert_eq!(of(PARTITIONS + 1, events.rows(14).await).last(), Some(&5));
}
