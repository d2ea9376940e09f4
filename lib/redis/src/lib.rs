//! How Redis is reached, be it one server, the primary that Sentinels name, or a Redis Cluster: [`Connections`] has the connection to whoever holds a
//! key, made when it is needed, shared by all who ask, and given up when somebody does not trust it any more. It must not know what the keys mean.
//!
//! Why the driver's own clients for Sentinel and Cluster are not taken stands in docs/adr/0015.

mod cluster;
mod connections;
mod error;
mod line;
mod sentinel;
mod server;
mod slots;

pub use connections::{Connections, Limits};
pub use error::{Error, may_pass};
pub use line::Connection;

use redis::Client;

/// Where Redis is.
#[derive(Clone, Debug)]
pub enum Redis {
    /// One server.
    Single(Client),
    /// One of several servers, whichever the Sentinels call the primary.
    Sentinel {
        /// The Sentinels, each as it wants to be talked to.
        sentinels: Vec<Client>,
        /// The name under which they watch the primary.
        master: String,
        /// As servers want to be talked to: user, password, database and TLS. Its address is not used.
        server: Client,
    },
    /// A Redis Cluster.
    Cluster {
        /// Some of its nodes; they know the others.
        nodes: Vec<Client>,
        /// As nodes want to be talked to: user, password and TLS. Its address is not used.
        server: Client,
    },
}

impl Redis {
    /// Whether keys are spread over several servers, so that no command may name keys of more than one slot.
    pub fn is_cluster(&self) -> bool {
        matches!(self, Self::Cluster { .. })
    }
}

impl From<Client> for Redis {
    fn from(server: Client) -> Self {
        Self::Single(server)
    }
}
