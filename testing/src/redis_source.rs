//! Where a checker reads rows: a Redis server, or those of the nodes of a cluster that take them. It shares no code with the product's way to a cluster:
//! each primary is asked for all that it has.

use std::time::Duration;

use anyhow::{Context, Result};
use redis::{Client, Connection, Role};

/// A server that is frozen is none that answers.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection to the server of a URL; of several hosts in it, `redis://a:1,b:2`, to each primary that answers. Replicas have copies, and who was killed has
/// nothing to show.
pub(crate) fn connections(url: &str) -> Result<Vec<Connection>> {
    let hosts = url.strip_prefix("redis://").context("a URL of Redis")?;
    if !hosts.contains(',') {
        return Ok(vec![connection(hosts)?]);
    }
    let mut primaries = Vec::new();
    let mut failed = None;
    for host in hosts.split(',') {
        match primary(host) {
            Ok(found) => primaries.extend(found),
            Err(error) => failed = Some(error),
        }
    }
    match failed {
        Some(error) if primaries.is_empty() => Err(error),
        _ => Ok(primaries),
    }
}

fn primary(host: &str) -> Result<Option<Connection>> {
    let mut connection = connection(host)?;
    let role: Role = redis::cmd("ROLE").query(&mut connection)?;
    Ok(matches!(role, Role::Primary { .. }).then_some(connection))
}

fn connection(host: &str) -> Result<Connection> {
    let client = Client::open(format!("redis://{host}"))?;
    let connection = client.get_connection_with_timeout(CALL_TIMEOUT);
    let connection = connection.with_context(|| format!("no connection to {host}"))?;
    connection.set_read_timeout(Some(CALL_TIMEOUT))?;
    Ok(connection)
}
