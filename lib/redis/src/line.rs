//! The connection to one server, shared by all who ask it, and given up at the first failure: nobody knows what still comes out of it then.

use crate::sentinel::Sentinels;
use crate::server;
use crate::{Error, Limits};
use redis::Client;
use redis::aio::MultiplexedConnection;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// After a connection could not be made, nobody tries again for so long; the many who ask share one failure.
const RECONNECT_AFTER: Duration = Duration::from_millis(40);
/// The same where several have to be asked for it.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// A connection that others use too.
#[derive(Clone)]
pub struct Connection {
    /// What to ask.
    pub redis: MultiplexedConnection,
    address: Arc<str>,
    pub(crate) line: Arc<Line>,
    pub(crate) life: u64,
}

impl Connection {
    /// Where the server is.
    pub fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.line, &other.line) && self.life == other.life
    }
}

/// To whom it leads.
pub(crate) enum Whom {
    /// To this one.
    Server(Client),
    /// To whichever these call the primary.
    Primary(Sentinels),
}

impl Whom {
    async fn dial(&self, limits: Limits) -> Result<(MultiplexedConnection, String), Error> {
        match self {
            Self::Server(client) => {
                let connection = server::connect(client, limits).await?;
                Ok((connection, server::address(client)))
            }
            Self::Primary(sentinels) => sentinels.connect(limits).await,
        }
    }

    fn pause(&self) -> Duration {
        match self {
            Self::Server(_) => RECONNECT_AFTER,
            Self::Primary(_) => ASK_AGAIN_AFTER,
        }
    }
}

/// The connection, if there is one.
pub(crate) struct Line {
    whom: Whom,
    slot: Mutex<Slot>,
}

#[derive(Default)]
struct Slot {
    open: Option<Open>,
    /// How many there were; tells an old connection's failure from the present one's.
    lives: u64,
    failed: Option<(Instant, Error)>,
}

#[derive(Clone)]
struct Open {
    life: u64,
    redis: MultiplexedConnection,
    address: Arc<str>,
}

impl Line {
    pub(crate) fn new(whom: Whom) -> Self {
        Self {
            whom,
            slot: Mutex::default(),
        }
    }

    /// The present connection, or a new one.
    pub(crate) async fn connection(self: Arc<Self>, limits: Limits) -> Result<Connection, Error> {
        let Open {
            life,
            redis,
            address,
        } = self.open(limits).await?;
        Ok(Connection {
            redis,
            address,
            line: self,
            life,
        })
    }

    async fn open(&self, limits: Limits) -> Result<Open, Error> {
        let mut slot = self.slot.lock().await;
        if let Some(open) = &slot.open {
            return Ok(open.clone());
        }
        if let Some((at, error)) = &slot.failed
            && at.elapsed() < self.whom.pause()
        {
            return Err(error.clone());
        }
        match self.whom.dial(limits).await {
            Ok((redis, address)) => {
                slot.lives += 1;
                slot.failed = None;
                let life = slot.lives;
                let open = Open {
                    life,
                    redis,
                    address: address.into(),
                };
                Ok(slot.open.insert(open).clone())
            }
            Err(error) => {
                slot.failed = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    /// Whether it was the present one that is given up.
    pub(crate) async fn give_up(&self, life: u64) -> bool {
        let mut slot = self.slot.lock().await;
        slot.open.take_if(|open| open.life == life).is_some()
    }
}
