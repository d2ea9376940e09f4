//! The registries a client may ask, and what is known of who serves what: asked when it is needed, and again now and then.

use super::{Directory, Endpoints, MAX_MESSAGE_BYTES};
use crate::pb::registry_client::RegistryClient as Stub;
use crate::{RegistryError, RegistryStatus, pb};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tonic::Request;
use tonic::transport::Channel;

/// Who does not say what it serves within this, is not waited for.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// What is known is asked for again in the background after this.
const REFRESH_EVERY: Duration = Duration::from_secs(5);
/// After an error it is asked for again, but not more often than this.
const REFRESH_AT_MOST_EVERY: Duration = Duration::from_millis(500);

/// What is known, and since when.
#[derive(Debug)]
struct Known {
    directory: Arc<Directory>,
    /// When all were asked last.
    asked: Option<Instant>,
    is_asking: bool,
}

impl Known {
    fn is_older_than(&self, age: Duration) -> bool {
        !self.is_asking && self.asked.is_none_or(|asked| asked.elapsed() >= age)
    }
}

/// The endpoints of the registries with what they said.
#[derive(Debug)]
pub(super) struct Registries {
    endpoints: Endpoints,
    known: watch::Sender<Known>,
}

impl Registries {
    /// Of which nothing is known yet.
    pub fn new(endpoints: Endpoints) -> Self {
        let directory = Directory::new(endpoints.urls().map(str::to_owned));
        Self {
            known: watch::Sender::new(Known {
                directory: Arc::new(directory),
                asked: None,
                is_asking: false,
            }),
            endpoints,
        }
    }

    /// The endpoints.
    pub fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// The calls of one of them, and its URL.
    pub fn stub(&self, at: usize) -> (&str, Stub<Channel>) {
        let (url, channel) = self.endpoints.at(at);
        let stub = Stub::new(channel)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        (url, stub)
    }

    /// One of them did not answer well: what is known of it may be wrong.
    pub fn failed(self: &Arc<Self>, at: usize) {
        self.endpoints.failed(at);
        if self.endpoints.count() > 1 {
            self.ask(REFRESH_AT_MOST_EVERY);
        }
    }

    /// What is known. Where that is not enough, all are asked, and waited for until it is enough or they have had their time.
    pub async fn directory(
        self: &Arc<Self>,
        enough: impl Fn(&Directory) -> bool,
    ) -> Arc<Directory> {
        self.ask(REFRESH_EVERY);
        let known = self.known.borrow().directory.clone();
        if enough(&known) {
            return known;
        }
        self.ask(REFRESH_AT_MOST_EVERY);
        self.wait(|known| enough(&known.directory) || !known.is_asking)
            .await
    }

    /// What all of them say now; of those that do not answer, what they said last.
    pub async fn fresh_directory(self: &Arc<Self>) -> Arc<Directory> {
        self.ask(Duration::ZERO);
        self.wait(|known| !known.is_asking).await
    }

    async fn wait(&self, until: impl Fn(&Known) -> bool) -> Arc<Directory> {
        let mut known = self.known.subscribe();
        let known = known.wait_for(|known| until(known)).await;
        let known = known.expect("the sender is here");
        known.directory.clone()
    }

    /// Asks all of them in the background, unless that was done so recently.
    fn ask(self: &Arc<Self>, after: Duration) {
        if !self.known.borrow().is_older_than(after) {
            return;
        }
        let begin = |known: &mut Known| {
            let begins = known.is_older_than(after);
            if begins {
                (known.asked, known.is_asking) = (Some(Instant::now()), true);
            }
            begins
        };
        if self.known.send_if_modified(begin) {
            let registries = self.clone();
            tokio::spawn(async move { registries.ask_all().await });
        }
    }

    async fn ask_all(&self) {
        let mut answers = self.questions();
        while let Some((at, answer)) = answers.next().await {
            if answer.is_err() {
                // So that nobody waits for one that is frozen while others answer.
                self.endpoints.failed(at);
            }
            self.learn(at, &answer);
        }
        self.known.send_modify(|known| known.is_asking = false);
    }

    /// Asks each of them how it is.
    pub fn questions(
        &self,
    ) -> FuturesUnordered<impl Future<Output = (usize, Result<RegistryStatus, RegistryError>)>>
    {
        let all = self.endpoints.all().into_iter();
        all.map(|at| async move { (at, self.question(at).await) })
            .collect()
    }

    async fn question(&self, at: usize) -> Result<RegistryStatus, RegistryError> {
        let (_, mut stub) = self.stub(at);
        let mut request = Request::new(pb::RegistryStatusRequest {});
        request.set_timeout(ANSWER_WITHIN);
        // Connecting takes its time too.
        let answer = tokio::time::timeout(ANSWER_WITHIN, stub.status(request)).await;
        let late = |_| RegistryError::Unavailable(format!("no answer within {ANSWER_WITHIN:?}"));
        let status = answer.map_err(late)??.into_inner();
        RegistryStatus::try_from(status).map_err(super::registry::unreadable)
    }

    /// Keeps what one of them said.
    pub fn learn(&self, at: usize, answer: &Result<RegistryStatus, RegistryError>) {
        self.known.send_if_modified(|known| {
            let directory = Arc::make_mut(&mut known.directory);
            match answer {
                Ok(status) => directory.heard(at, status),
                Err(RegistryError::Unavailable(words)) => directory.silent(at, words),
                Err(error) => directory.silent(at, &error.to_string()),
            }
        });
    }
}
