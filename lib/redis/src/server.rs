//! One server: a connection to it within limits, and others that are talked to like it. Of several who are asked at once, the first good answer.

use crate::{Error, Limits};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, ConnectionAddr, FromRedisValue, RedisError};

/// Where it is, for people.
pub(crate) fn address(server: &Client) -> String {
    server.get_connection_info().addr().to_string()
}

/// Its host; empty for a Unix socket.
pub(crate) fn host(server: &Client) -> &str {
    match server.get_connection_info().addr() {
        ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. } => host,
        _ => "",
    }
}

/// Another one that is talked to likewise.
pub(crate) fn like(server: &Client, host: String, port: u16) -> Result<Client, Error> {
    let info = server.get_connection_info().clone();
    let addr = match info.addr().clone() {
        ConnectionAddr::TcpTls {
            insecure,
            tls_params,
            ..
        } => ConnectionAddr::TcpTls {
            host,
            port,
            insecure,
            tls_params,
        },
        _ => ConnectionAddr::Tcp(host, port),
    };
    let address = addr.to_string();
    Client::open(info.set_addr(addr)).map_err(|error| Error::Failed { address, error })
}

/// A connection, after the server has let us in.
pub(crate) async fn connect(
    server: &Client,
    limits: Limits,
) -> Result<MultiplexedConnection, Error> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(limits.connect))
        .set_response_timeout(limits.answer);
    let connecting = server.get_multiplexed_async_connection_with_config(&config);
    let connected = within(server, limits, connecting).await?;
    connected.map_err(|error| failed(server, error))
}

/// Asks one question over a connection of its own, within the time that a connection may take.
pub(crate) async fn ask_once<T: FromRedisValue>(
    server: &Client,
    question: &Cmd,
    limits: Limits,
) -> Result<T, Error> {
    let asking = async {
        let mut connection = connect(server, limits).await?;
        let answer = question.query_async(&mut connection).await;
        answer.map_err(|error| failed(server, error))
    };
    within(server, limits, asking).await?
}

/// In the time that a connection may take.
pub(crate) async fn within<T>(
    server: &Client,
    limits: Limits,
    asking: impl Future<Output = T>,
) -> Result<T, Error> {
    let answer = tokio::time::timeout(limits.connect, asking).await;
    answer.map_err(|_| Error::Silent {
        address: address(server),
        limit: limits.connect,
    })
}

pub(crate) fn failed(server: &Client, error: RedisError) -> Error {
    Error::Failed {
        address: address(server),
        error,
    }
}

/// The first good answer of all who are asked at once: one that is away costs no time. Where there is none, the error that says the most: a
/// refusal rather than somebody's absence.
pub(crate) async fn first_good<T>(
    asked: Vec<impl Future<Output = Result<T, Error>>>,
) -> Result<T, Error> {
    let mut asked: FuturesUnordered<_> = asked.into_iter().collect();
    let mut worst = Error::Nobody;
    let mut is_refused = false;
    while let Some(answer) = asked.next().await {
        match answer {
            Ok(good) => return Ok(good),
            Err(error) if is_refused => drop(error),
            Err(error) => {
                is_refused = !error.may_pass();
                worst = error;
            }
        }
    }
    Err(worst)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use futures::future::{Ready, pending, ready};
    use std::time::Duration;

    fn silent(address: &str) -> Error {
        Error::Silent {
            address: address.into(),
            limit: Duration::from_secs(1),
        }
    }

    #[tokio::test]
    async fn who_is_away_costs_nothing_and_a_refusal_says_more_than_an_absence() {
        let never = pending::<Result<u8, Error>>();
        let asked = vec![never.left_future(), ready(Ok(7)).right_future()];
        assert!(matches!(first_good(asked).await, Ok(7)));

        let refused = Error::NotWatched {
            sentinel: "b".into(),
            master: "m".into(),
        };
        for errors in [
            vec![silent("a"), refused.clone(), silent("c")],
            vec![refused, silent("a")],
        ] {
            let asked = errors.into_iter().map(|error| ready(Err::<u8, _>(error)));
            let error = first_good(asked.collect()).await;
            assert!(matches!(error, Err(Error::NotWatched { .. })), "{error:?}");
        }
        let nobody = first_good(Vec::<Ready<Result<u8, Error>>>::new()).await;
        assert!(matches!(nobody, Err(Error::Nobody)));
    }

    #[test]
    fn others_are_talked_to_alike() {
        let open = |url: &str| Client::open(url).expect("it is an address");
        let plain = like(&open("redis://u:p@a:1/3"), "b".into(), 2).expect("an address");
        let info = plain.get_connection_info();
        assert_eq!(address(&plain), "b:2");
        assert_eq!(info.redis_settings().username(), Some("u"));
        assert_eq!(info.redis_settings().password(), Some("p"));
        assert_eq!(info.redis_settings().db(), 3);
        let secured = like(&open("rediss://a:1"), "b".into(), 2).expect("an address");
        let addr = secured.get_connection_info().addr();
        assert!(
            matches!(addr, ConnectionAddr::TcpTls { host, port: 2, insecure: false, .. } if host == "b")
        );
        assert_eq!((host(&secured), host(&plain)), ("b", "b"));
    }
}
