//! What the tests share: a running publisher, Redis as its readers see it, and waiting for a state.

use crate::test_log::TestLog;
use rtf_proto::naming::{redis_log_key, redis_stream};
use rtf_proto::{Offset, PartitionId};
use rtf_publisher::sink::{RedisOptions, RedisSink, Sink};
use rtf_publisher::{Content, Options, Publisher, PublisherHandle};
use rtf_service::{Component, Readiness};
use rtf_testing::{Redis, RedisOptions as ServerOptions};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub const NAME: &str = "vacation";
/// Much longer than anything takes, for a machine that is busy with other things.
pub const SOON: Duration = Duration::from_secs(30);

/// Waits for a state; never sleeps for a time.
pub async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let waiting = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    if tokio::time::timeout(SOON, waiting).await.is_err() {
        panic!("waited in vain until {what}");
    }
}

/// Short waits, so that tests are quick.
pub fn options() -> Options {
    Options {
        content: Content::Rows {
            emit_unjoinable: false,
        },
        recheck_refused: Duration::from_millis(100),
        recheck_idle: Duration::from_millis(50),
        ahead_grace: Duration::from_millis(1500),
    }
}

/// A publisher in the background; dropped, it dies at once, like a process that is killed.
pub struct Running {
    pub handle: PublisherHandle,
    pub component: Component,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    pub fn start(log: &TestLog, sink: Arc<dyn Sink>, options: Options) -> Self {
        let component = Readiness::default().component("publisher");
        let publisher = Publisher::new(options, Arc::new(log.clone()), sink, component.clone());
        let (handle, stop) = (publisher.handle(), CancellationToken::new());
        let task = tokio::spawn(publisher.run(stop.clone()));
        Self {
            handle,
            component,
            stop,
            task,
        }
    }

    pub async fn stop(mut self) {
        self.stop.cancel();
        let ended = tokio::time::timeout(SOON, &mut self.task).await;
        ended.expect("it stops in time").unwrap();
    }

    pub fn reason(&self) -> String {
        self.component.reason().unwrap_or_default()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub fn server() -> Redis {
    Redis::start(&ServerOptions::default()).unwrap()
}

pub fn redis_sink(url: String) -> Arc<RedisSink> {
    let options = RedisOptions {
        name: NAME.into(),
        max_rows: 0,
        call_timeout: Duration::from_secs(2),
    };
    Arc::new(RedisSink::new(address(&url), options))
}

pub fn address(url: &str) -> rtf_redis::Redis {
    redis::Client::open(url).unwrap().into()
}

/// A connection for looking and hurting.
pub fn client(redis: &Redis) -> redis::Connection {
    redis.connection().unwrap()
}

/// Offsets and rows of a stream, oldest first.
pub fn rows(redis: &mut redis::Connection, partition: PartitionId) -> Vec<(Offset, String)> {
    let entries: Vec<(String, Vec<String>)> = redis::cmd("XRANGE")
        .arg(redis_stream(NAME, partition))
        .arg("-")
        .arg("+")
        .query(redis)
        .unwrap();
    let entry = |(id, fields): (String, Vec<String>)| {
        let [field, row] = fields.try_into().unwrap();
        assert_eq!(field, "row");
        (id.strip_suffix("-0").unwrap().parse().unwrap(), row)
    };
    entries.into_iter().map(entry).collect()
}

pub fn log_key(redis: &mut redis::Connection, partition: PartitionId) -> Option<String> {
    redis::cmd("GET")
        .arg(redis_log_key(NAME, partition))
        .query(redis)
        .unwrap()
}

/// Waits until Redis shows what the log says, and says what is different if it does not come to that.
pub async fn until_published(log: &TestLog, redis: &mut redis::Connection, partition: PartitionId) {
    let expected = log.rows(partition, false);
    let same = tokio::time::timeout(SOON, async {
        while rows(redis, partition) != expected {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    if same.await.is_err() {
        let offsets =
            |rows: Vec<(Offset, String)>| rows.into_iter().map(|row| row.0).collect::<Vec<_>>();
        assert_eq!(offsets(rows(redis, partition)), offsets(expected));
        panic!("the offsets are right, but the rows are not");
    }
}
