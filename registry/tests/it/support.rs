//! A replica over librdkafka's mock cluster.

use rtf_kafka::Settings;
use rtf_proto::{EventId, Outcome, Registration, Source, Token, TopicId, Verdict};
use rtf_registry::{Options, RegistryFailure, RegistryHandle, Replica};
use std::path::Path;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A replica at work.
pub struct Running {
    pub handle: RegistryHandle,
    pub stop: CancellationToken,
    pub task: JoinHandle<Result<(), RegistryFailure>>,
}

/// Of a log of three partitions, with nothing special.
pub fn options(data: &Path) -> Options {
    Options {
        topic: "t.joins".into(),
        partitions: 3,
        serves: None,
        replication: None,
        horizon: Duration::from_secs(3600),
        data: data.into(),
        skip: Default::default(),
        strict: true,
    }
}

/// A replica that is ready.
pub async fn start(settings: &Settings, data: &Path) -> Running {
    start_with(settings, options(data)).await
}

/// One with options of its own.
pub async fn start_with(settings: &Settings, options: Options) -> Running {
    let settings = settings.clone();
    let replica = tokio::task::spawn_blocking(move || Replica::open(&options, &settings))
        .await
        .unwrap()
        .unwrap();
    let (handle, stop) = (replica.handle(), CancellationToken::new());
    let (ready, is_ready) = tokio::sync::oneshot::channel();
    let task = tokio::spawn(replica.run(
        move || ready.send(()).expect("the test waits"),
        stop.clone(),
    ));
    tokio::time::timeout(Duration::from_secs(30), is_ready)
        .await
        .unwrap()
        .unwrap();
    Running { handle, stop, task }
}

impl Running {
    /// Stops it in order.
    pub async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(Duration::from_secs(30), self.task)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
    }
}

/// An event's registration, by the attempt chain with this token.
pub fn item(id: &str, token: u64) -> Registration {
    let source = Source {
        topic: "tweets".into(),
        topic_id: TopicId([1; 16]),
        partition: 0,
        offset: token,
    };
    Registration {
        id: EventId::from(id),
        outcome: Outcome::Joined,
        source,
        token: Token(token),
        later_ts: 5,
        body: format!("row of {id} by {token}").into(),
    }
}

/// The winner's offset.
pub fn offset(verdict: &Verdict) -> u64 {
    match verdict {
        Verdict::Registered(offset) | Verdict::AlreadyResolved(offset) => *offset,
        other => panic!("{other:?}"),
    }
}
