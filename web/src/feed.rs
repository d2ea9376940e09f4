//! The one reader of new rows in this process: it tails the source and broadcasts each batch, encoded once, to every open
//! stream. It must not know HTTP, nor how far any one browser is: who falls behind reads for itself.

use crate::frame::Frame;
use crate::{Cursor, RowSource, SourceError};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, broadcast, watch};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// Batches kept for streams that are a little slow; who is slower reads for itself.
const BATCHES_KEPT: usize = 64;
/// Rows of a partition in one batch.
pub(crate) const BATCH_ROWS: usize = 64;
/// Batches come no closer together than this, so that a flood costs each browser few and large events.
const BATCH_INTERVAL: Duration = Duration::from_millis(25);
/// How long one read waits for rows.
const READ_PATIENCE: Duration = Duration::from_millis(500);
/// How often it is checked whether the store was emptied.
const ENDS_INTERVAL: Duration = Duration::from_secs(1);
/// How often the store is asked for a sign of life while nobody listens.
const IDLE_INTERVAL: Duration = Duration::from_secs(2);
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(2);
/// Reads of older rows that may run at once: searches, and streams that catch up.
const READS_MAX: usize = 8;

/// What open streams are told.
#[derive(Debug)]
pub(crate) enum Event {
    /// New rows.
    Rows(Frame),
    /// Partitions that end before where one stands start anew; here are the ends.
    Rewound(Cursor),
    /// The broadcast begins after this place: who stands elsewhere must look for itself whether rows lie between, or the
    /// store was emptied.
    Started(Cursor),
}

/// The store's state as last seen: well, or why not.
pub(crate) type Health = Result<(), String>;

/// A handle to the reader; cheap to clone.
#[derive(Clone)]
pub(crate) struct Feed {
    pub(crate) source: Arc<dyn RowSource>,
    /// Bounds how many requests read from the source at once.
    pub(crate) reads: Arc<Semaphore>,
    pub(crate) shutdown: CancellationToken,
    events: broadcast::Sender<Arc<Event>>,
    health: watch::Receiver<Health>,
    wanted: Arc<Notify>,
}

impl Feed {
    /// Starts the reader; it ends with `shutdown`.
    pub(crate) fn start(source: Arc<dyn RowSource>, shutdown: CancellationToken) -> Self {
        let (health, seen) = watch::channel(Ok(()));
        let feed = Self {
            source,
            reads: Arc::new(Semaphore::new(READS_MAX)),
            shutdown,
            events: broadcast::Sender::new(BATCHES_KEPT),
            health: seen,
            wanted: Arc::new(Notify::new()),
        };
        let reader = Reader {
            feed: feed.clone(),
            health,
            cursor: None,
        };
        tokio::spawn(reader.run());
        feed
    }

    /// Everything from now on.
    pub(crate) fn listen(&self) -> broadcast::Receiver<Arc<Event>> {
        let events = self.events.subscribe();
        self.wanted.notify_one();
        events
    }

    /// The store's state, and its changes.
    pub(crate) fn health(&self) -> watch::Receiver<Health> {
        self.health.clone()
    }
}

struct Reader {
    feed: Feed,
    health: watch::Sender<Health>,
    /// Where the broadcast is; kept over failures, so that listeners see no gap.
    cursor: Option<Cursor>,
}

impl Reader {
    async fn run(mut self) {
        let shutdown = self.feed.shutdown.clone();
        let _ = shutdown.run_until_cancelled(self.read_for_ever()).await;
    }

    async fn read_for_ever(&mut self) {
        let mut backoff = BACKOFF_MIN;
        loop {
            let started = Instant::now();
            let Err(error) = self.read().await;
            self.report(&error);
            if started.elapsed() > BACKOFF_MAX {
                backoff = BACKOFF_MIN;
            }
            sleep(backoff).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    /// Reads until the source fails.
    async fn read(&mut self) -> Result<std::convert::Infallible, SourceError> {
        let mut cursor = self.check_ends().await?;
        let mut checked = Instant::now();
        loop {
            if self.feed.events.receiver_count() == 0 {
                self.idle().await;
                self.cursor = None;
                cursor = self.check_ends().await?;
                checked = Instant::now();
            } else if checked.elapsed() >= ENDS_INTERVAL {
                cursor = self.check_ends().await?;
                checked = Instant::now();
            }
            let page = self
                .feed
                .source
                .after(&cursor, BATCH_ROWS, READ_PATIENCE)
                .await?;
            let from = std::mem::replace(&mut cursor, page.cursor.clone());
            self.cursor = Some(page.cursor.clone());
            let count = page.rows.len();
            if count > 0 {
                self.tell(Event::Rows(Frame::new(from, page.cursor, page.rows)));
            }
            if (1..BATCH_ROWS).contains(&count) {
                sleep(BATCH_INTERVAL).await;
            }
        }
    }

    /// Takes up where the broadcast was, except in partitions that were emptied since; without a place, from the ends.
    async fn check_ends(&mut self) -> Result<Cursor, SourceError> {
        let ends = self.feed.source.ends().await?;
        self.health
            .send_if_modified(|health| std::mem::replace(health, Ok(())).is_err());
        let mut cursor = self.cursor.take().unwrap_or_else(|| {
            self.tell(Event::Started(ends.clone()));
            ends.clone()
        });
        if cursor.rewind(&ends) {
            tracing::warn!(%ends, "the row store was emptied: its rows are shown again as they return");
            self.tell(Event::Rewound(ends));
        }
        self.cursor = Some(cursor.clone());
        Ok(cursor)
    }

    /// Nobody listens: reading would only cost.
    async fn idle(&self) {
        tokio::select! {
            () = self.feed.wanted.notified() => {}
            () = sleep(IDLE_INTERVAL) => {}
        }
    }

    fn tell(&self, event: Event) {
        // An error only says that the last listener has just left.
        let _ = self.feed.events.send(Arc::new(event));
    }

    /// Logs once for each time the store goes away.
    fn report(&self, error: &SourceError) {
        let words = error.to_string();
        if self.health.borrow().is_ok() {
            tracing::warn!(error = %words, "new rows cannot be read, trying again");
        }
        self.health.send_if_modified(|health| {
            let news = health.as_ref().err() != Some(&words);
            *health = Err(words);
            news
        });
    }
}
