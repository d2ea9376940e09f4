//! The joiners a client may ask, and what is known of who holds what: asked for in the background, all the time.

use super::holders::{Holders, Routes};
use super::joiner::named;
use super::{Endpoints, MAX_MESSAGE_BYTES};
use crate::pb::joiner_client::JoinerClient as Stub;
use crate::{JoinerError, pb};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use parking_lot::Mutex;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::watch;
use tonic::Streaming;
use tonic::transport::Channel;

/// Who does not say what it holds within this is silent.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// Who does not take a listener within this is absent.
const LISTEN_WITHIN: Duration = Duration::from_secs(2);
/// Between two rounds of questions.
const ASK_EVERY: Duration = Duration::from_millis(300);

/// What is known.
#[derive(Debug)]
pub(super) struct Known {
    pub routes: Arc<Routes>,
    /// Whether all have been asked once.
    is_complete: bool,
    /// How often somebody came to answer for a partition who had not before.
    pub gains: u64,
}

/// The endpoints of the joiners with what they said.
#[derive(Debug)]
pub(super) struct Joiners {
    pub endpoints: Endpoints,
    holders: Mutex<Holders>,
    known: watch::Sender<Known>,
}

impl Joiners {
    /// Of which nothing is known yet.
    pub fn new(endpoints: Endpoints) -> Self {
        let holders = Holders::new(endpoints.count());
        let known = Known {
            routes: Arc::new(holders.routes()),
            is_complete: false,
            gains: 0,
        };
        Self {
            endpoints,
            holders: Mutex::new(holders),
            known: watch::Sender::new(known),
        }
    }

    /// A channel to an endpoint, with its URL.
    pub fn stub(&self, at: usize) -> (&str, Stub<Channel>) {
        let (url, channel) = self.endpoints.at(at);
        let stub = Stub::new(channel)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        (url, stub)
    }

    /// What is known now, and whatever comes.
    pub fn known(&self) -> watch::Receiver<Known> {
        self.known.subscribe()
    }

    /// Whom to ask, as soon as all were asked once what they hold.
    pub async fn routes(&self) -> Arc<Routes> {
        let mut known = self.known();
        let known = known.wait_for(|known| known.is_complete).await;
        Arc::clone(&known.expect("its sender is here").routes)
    }

    /// Listens to one.
    ///
    /// # Errors
    /// It takes no listener in time.
    pub async fn listen(&self, at: usize) -> Result<Streaming<pb::WakeupsResponse>, JoinerError> {
        let (url, mut stub) = self.stub(at);
        let subscribing = stub.wakeups(pb::WakeupsRequest {});
        match tokio::time::timeout(LISTEN_WITHIN, subscribing).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => Err(named(url, status.into())),
            Err(_) => Err(JoinerError::Unavailable(format!("{url}: no answer"))),
        }
    }

    /// Returns when one of these takes a listener. It may be asked for partners like any other then, and what it is asked for is wanted there.
    pub async fn one_of(self: Arc<Self>, absent: Vec<usize>) {
        while !absent.is_empty() {
            tokio::time::sleep(ASK_EVERY).await;
            for at in &absent {
                if self.listen(*at).await.is_ok() {
                    return;
                }
            }
        }
        std::future::pending().await
    }

    async fn ask(&self) {
        let question = |at: usize| async move {
            let (_, mut stub) = self.stub(at);
            let asked = stub.status(pb::JoinerStatusRequest {});
            let answer = tokio::time::timeout(ANSWER_WITHIN, asked).await;
            (at, answer.ok().and_then(Result::ok))
        };
        let mut answers: FuturesUnordered<_> =
            self.endpoints.all().into_iter().map(question).collect();
        while let Some((at, answer)) = answers.next().await {
            let mut holders = self.holders.lock();
            match answer {
                Some(answer) => holders.heard(at, answer.into_inner().share.map(Into::into)),
                None => holders.silent(at),
            }
            let routes = holders.routes();
            self.known.send_if_modified(|known| known.take(routes));
        }
        self.known
            .send_if_modified(|known| !std::mem::replace(&mut known.is_complete, true));
    }
}

impl Known {
    /// Whether this is news.
    fn take(&mut self, routes: Routes) -> bool {
        if *self.routes == routes {
            return false;
        }
        self.gains += u64::from(routes.gains_on(&self.routes));
        tracing::info!(
            ?routes,
            "partitions of the primary topic are held by others than before"
        );
        self.routes = Arc::new(routes);
        true
    }
}

/// Asks until the joiners are dropped.
pub(super) async fn follow(joiners: Weak<Joiners>) {
    while let Some(joiners) = joiners.upgrade() {
        joiners.ask().await;
        drop(joiners);
        tokio::time::sleep(ASK_EVERY).await;
    }
}
