//! The connections of one purpose: one to each server that is asked something.

use crate::cluster::Cluster;
use crate::line::{Connection, Line, Whom};
use crate::sentinel::Sentinels;
use crate::{Error, Redis};
use futures::future::join_all;
use std::sync::Arc;
use std::time::Duration;

/// How long is waited.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// A server lets us in within this. Whoever has to be asked where it is has as long before.
    pub connect: Duration,
    /// It answers within this; `None`: whoever asks sees to it.
    pub answer: Option<Duration>,
}

/// One connection to each server that is asked something. None is made before it is needed.
pub struct Connections {
    limits: Limits,
    way: Way,
}

enum Way {
    /// All keys are at one place.
    Line(Arc<Line>),
    Cluster(Box<Cluster>),
}

impl Connections {
    /// To the servers of `redis`.
    pub fn new(redis: Redis, limits: Limits) -> Self {
        let line = |whom| Way::Line(Arc::new(Line::new(whom)));
        let way = match redis {
            Redis::Single(server) => line(Whom::Server(server)),
            Redis::Sentinel {
                sentinels,
                master,
                server,
            } => line(Whom::Primary(Sentinels {
                sentinels,
                master,
                server,
            })),
            Redis::Cluster { nodes, server } => Way::Cluster(Box::new(Cluster::new(nodes, server))),
        };
        Self { limits, way }
    }

    /// The connection to who has a key.
    ///
    /// # Errors
    /// Nobody is known to have it, or who has it does not let us in, within the limits.
    pub async fn of(&self, key: &str) -> Result<Connection, Error> {
        let line = match &self.way {
            Way::Line(line) => line.clone(),
            Way::Cluster(cluster) => cluster.line(key, self.limits).await?,
        };
        self.connect(line).await
    }

    /// The connections to who has these keys, each with the places of its keys among them.
    ///
    /// # Errors
    /// As [`of`](Self::of), for any of them.
    pub async fn by_server(&self, keys: &[&str]) -> Result<Vec<(Connection, Vec<usize>)>, Error> {
        let mut servers: Vec<(Connection, Vec<usize>)> = Vec::new();
        for (place, key) in keys.iter().enumerate() {
            let connection = self.of(key).await?;
            match servers.iter_mut().find(|(known, _)| known.is(&connection)) {
                Some((_, places)) => places.push(place),
                None => servers.push((connection, vec![place])),
            }
        }
        Ok(servers)
    }

    /// The connections to all servers that have keys.
    ///
    /// # Errors
    /// Nobody says who they are.
    pub async fn all(&self) -> Result<Vec<Result<Connection, Error>>, Error> {
        let lines = match &self.way {
            Way::Line(line) => vec![line.clone()],
            Way::Cluster(cluster) => cluster.lines(self.limits).await?,
        };
        Ok(join_all(lines.into_iter().map(|line| self.connect(line))).await)
    }

    /// After any failure of a connection, or an answer that cannot be right: nobody is given this one any more, and who has its keys is asked anew.
    pub async fn give_up(&self, connection: &Connection) {
        let line = &connection.line;
        if line.give_up(connection.life).await {
            self.doubt(line).await;
        }
    }

    async fn connect(&self, line: Arc<Line>) -> Result<Connection, Error> {
        let connected = line.clone().connection(self.limits).await;
        if connected.is_err() {
            self.doubt(&line).await;
        }
        connected
    }

    async fn doubt(&self, line: &Arc<Line>) {
        if let Way::Cluster(cluster) = &self.way {
            cluster.doubt(line).await;
        }
    }
}
