//! The primary, as Sentinels name it. All are asked anew for each connection: nothing is remembered that a failover could make wrong.

use crate::server::{self, ask_once, failed, first_good, within};
use crate::{Error, Limits};
use redis::aio::MultiplexedConnection;
use redis::{Client, RedisResult, Role, cmd};

/// Whom to ask for whom.
#[derive(Clone)]
pub(crate) struct Sentinels {
    pub(crate) sentinels: Vec<Client>,
    /// The name under which they watch the primary.
    pub(crate) master: String,
    /// As servers want to be talked to.
    pub(crate) server: Client,
}

impl Sentinels {
    /// A connection to the server that some Sentinel calls the primary and that says so itself, and where it is.
    pub(crate) async fn connect(
        &self,
        limits: Limits,
    ) -> Result<(MultiplexedConnection, String), Error> {
        let asked = self.sentinels.iter();
        first_good(asked.map(|sentinel| self.ask(sentinel, limits)).collect()).await
    }

    async fn ask(
        &self,
        sentinel: &Client,
        limits: Limits,
    ) -> Result<(MultiplexedConnection, String), Error> {
        let primary = self.primary(sentinel, limits).await?;
        let connecting = Self::connect_to(&primary, sentinel, limits);
        let connection = within(&primary, limits, connecting).await??;
        Ok((connection, server::address(&primary)))
    }

    async fn primary(&self, sentinel: &Client, limits: Limits) -> Result<Client, Error> {
        let mut question = cmd("SENTINEL");
        question.arg("GET-MASTER-ADDR-BY-NAME").arg(&self.master);
        let named: Option<(String, u16)> = ask_once(sentinel, &question, limits).await?;
        let (host, port) = named.ok_or_else(|| Error::NotWatched {
            sentinel: server::address(sentinel),
            master: self.master.clone(),
        })?;
        server::like(&self.server, host, port)
    }

    /// A Sentinel may not know yet that a primary was replaced, and the replaced one that it is a replica now.
    async fn connect_to(
        primary: &Client,
        sentinel: &Client,
        limits: Limits,
    ) -> Result<MultiplexedConnection, Error> {
        let mut connection = server::connect(primary, limits).await?;
        let role: RedisResult<Role> = cmd("ROLE").query_async(&mut connection).await;
        match role.map_err(|error| failed(primary, error))? {
            Role::Primary { .. } => Ok(connection),
            _ => Err(Error::NotPrimary {
                address: server::address(primary),
                sentinel: server::address(sentinel),
            }),
        }
    }
}
