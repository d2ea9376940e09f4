//! How Redis is reached: who says where it is, who we are, and which certificates are trusted.

use crate::pem;
use anyhow::Context;
use redis::{
    Client, ClientTlsConfig, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo,
    TlsCertificates,
};
use rtf_config::{Config, RedisKind, Secret, Sentinel, Tls};
use rtf_redis::{Connections, Limits, Redis};

/// Where Redis is. Nobody is asked yet.
///
/// # Errors
/// An address that is none, or a certificate that cannot be read.
pub fn open(config: &Config) -> anyhow::Result<Redis> {
    let addresses = config.redis.urls().into_iter().map(|url| address(&url));
    let addresses: Vec<ConnectionInfo> = addresses.collect::<anyhow::Result<_>>()?;
    let certificates = certificates(&config.redis.tls)?;
    let server = |address: &ConnectionInfo| {
        let address = with_password(address, &config.redis.password);
        client(address, certificates.as_ref())
    };
    let sentinel = |address: &ConnectionInfo| {
        let address = with_user(address, &config.redis.sentinel);
        client(address, certificates.as_ref())
    };
    let first = server(addresses.first().context("[redis].url is empty")?)?;
    Ok(match config.redis.kind {
        RedisKind::Single => Redis::Single(first),
        RedisKind::Sentinel => Redis::Sentinel {
            sentinels: addresses.iter().map(sentinel).collect::<Result<_, _>>()?,
            master: config.redis.sentinel.master.clone(),
            server: first,
        },
        RedisKind::Cluster => Redis::Cluster {
            nodes: addresses.iter().map(server).collect::<Result<_, _>>()?,
            server: first,
        },
    })
}

/// Connections for a command, which waits for each answer as long as roles do.
///
/// # Errors
/// As [`open`].
pub fn connections(config: &Config) -> anyhow::Result<Connections> {
    let within = config.redis.timeout.0;
    let limits = Limits {
        connect: within,
        answer: Some(within),
    };
    Ok(Connections::new(open(config)?, limits))
}

fn client(address: ConnectionInfo, tls: Option<&TlsCertificates>) -> anyhow::Result<Client> {
    match tls {
        None => Client::open(address).context("[redis].url"),
        Some(tls) => Client::build_with_tls(address, tls.clone()).context("[redis.tls]"),
    }
}

/// The words never repeat the URL, which may hold a password.
fn address(url: &str) -> anyhow::Result<ConnectionInfo> {
    url.into_connection_info().context("[redis].url")
}

/// The password may stand beside the URL.
fn with_password(address: &ConnectionInfo, password: &Secret) -> ConnectionInfo {
    if password.is_empty() {
        return address.clone();
    }
    let who = address.redis_settings().clone();
    let who = who.set_password(password.reveal());
    address.clone().set_redis_settings(who)
}

/// A Sentinel's users are not Redis's, and it has no databases.
fn with_user(address: &ConnectionInfo, sentinel: &Sentinel) -> ConnectionInfo {
    let mut who = RedisConnectionInfo::default();
    if !sentinel.user.is_empty() {
        who = who.set_username(&sentinel.user);
    }
    let address = address.clone().set_redis_settings(who);
    with_password(&address, &sentinel.password)
}

/// `None`: as the system has it.
fn certificates(tls: &Tls) -> anyhow::Result<Option<TlsCertificates>> {
    if tls.is_empty() {
        return Ok(None);
    }
    let client_tls = match (
        pem::read("redis.tls.certificate", &tls.certificate)?,
        pem::read("redis.tls.key", &tls.key)?,
    ) {
        (Some(client_cert), Some(client_key)) => Some(ClientTlsConfig {
            client_cert,
            client_key,
        }),
        // `config check` refuses one without the other.
        _ => None,
    };
    Ok(Some(TlsCertificates {
        client_tls,
        root_cert: pem::read("redis.tls.ca", &tls.ca)?,
    }))
}

/// Signs in an error's words, and what to do then.
const ADVICE: [(&[&str], &str); 7] = [
    (
        &[
            "WRONGPASS",
            "NOAUTH",
            "authentication failed",
            "AuthenticationFailed",
        ],
        "correct the user in [redis].url, and the password there or in [redis].password; those of Sentinels are in [redis.sentinel]",
    ),
    (
        &["NoPerm", "NOPERM"],
        "let the user find out who has what: +role with Sentinels, +cluster|slots in a cluster; a Sentinel's own user needs +sentinel|get-master-addr-by-name",
    ),
    (
        &["invalid peer certificate"],
        "name the authority that signed Redis's certificate in [redis.tls].ca, and in [redis].url a host that the certificate is made out to",
    ),
    (
        &["CertificateRequired", "certificate required"],
        "Redis wants a certificate of ours: set [redis.tls].certificate and key, or its tls-auth-clients to no",
    ),
    (
        &["watches no"],
        "set [redis.sentinel].master to the name in the Sentinels' own `sentinel monitor NAME ...`",
    ),
    (
        &[
            "unknown command",
            "cluster support disabled",
            "unknown subcommand",
        ],
        "it is another kind of Redis: correct [redis].kind (single, sentinel or cluster), or [redis].url",
    ),
    (
        &["no node of the Redis Cluster", "which slots"],
        "have all slots served: `redis-cli --cluster check HOST:PORT` says what is missing; rows of the others are carried meanwhile",
    ),
];

/// What to do about an error of a connection that could not be made.
pub fn advice(words: &str) -> &'static str {
    let has = |signs: &[&str]| signs.iter().any(|sign| words.contains(sign));
    let found = ADVICE.iter().find(|(signs, _)| has(signs));
    found.map_or(
        "start it, or correct [redis].url (rediss:// if it wants TLS, redis:// if not); until then rows wait in the join log, and nothing is lost",
        |(_, advice)| advice,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(redis: &str) -> Config {
        Config::from_toml(&format!("[redis]\n{redis}")).expect("it is TOML with our keys")
    }

    fn login(client: &Client) -> (String, String) {
        let who = client.get_connection_info().redis_settings();
        let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
        (text(who.username()), text(who.password()))
    }

    fn pair(user: &str, password: &str) -> (String, String) {
        (user.to_owned(), password.to_owned())
    }

    #[test]
    fn the_password_may_stand_beside_the_address() {
        let password = |redis: &str| match open(&config(redis)).expect("it is an address") {
            Redis::Single(client) => login(&client),
            other => panic!("{other:?}"),
        };
        assert_eq!(password("url = 'redis://u:p@h'"), pair("u", "p"));
        let beside = "url = 'rediss://u@h:1'\npassword = 'p/@:'";
        assert_eq!(password(beside), pair("u", "p/@:"));
        assert_eq!(password("url = 'redis://h'\npassword = 'p'"), pair("", "p"));
    }

    #[test]
    fn what_cannot_be_used_is_refused_without_repeating_the_address() {
        for redis in [
            "url = 'nonsense://:hunter2@'",
            "url = 'rediss://:hunter2@h'\n[redis.tls]\nca = '/nowhere'",
            "url = 'rediss://:hunter2@h'\n[redis.tls]\nca = '/dev/null'\ncertificate = '/dev/null'\nkey = '/dev/null'",
        ] {
            let error = format!("{:#}", open(&config(redis)).expect_err(redis));
            assert!(
                error.contains("[redis") && !error.contains("hunter2"),
                "{error}"
            );
        }
    }

    #[test]
    fn sentinels_know_us_by_another_name_than_servers_do() {
        let text = "kind = 'sentinel'\nurl = 'rediss://u@a,b:2/3'\npassword = 'p'\nsentinel = { master = 'm', user = 's', password = 'q' }";
        let Redis::Sentinel {
            sentinels,
            master,
            server,
        } = open(&config(text)).expect("they are addresses")
        else {
            panic!("no Sentinels");
        };
        let at = |client: &Client| client.get_connection_info().addr().to_string();
        let places: Vec<String> = sentinels.iter().map(at).collect();
        assert_eq!(places, ["a:26379", "b:2"]);
        for sentinel in &sentinels {
            assert_eq!(login(sentinel), pair("s", "q"));
            assert_eq!(sentinel.get_connection_info().redis_settings().db(), 0);
        }
        assert_eq!((login(&server), master.as_str()), (pair("u", "p"), "m"));
        assert_eq!(server.get_connection_info().redis_settings().db(), 3);
    }

    #[test]
    fn nodes_of_a_cluster_know_us_by_one_name() {
        let text = "kind = 'cluster'\nurl = 'redis://u:p@a:1,b:2'";
        let Redis::Cluster { nodes, server } = open(&config(text)).expect("they are addresses")
        else {
            panic!("no cluster");
        };
        let logins: Vec<_> = nodes.iter().chain([&server]).map(login).collect();
        assert_eq!(logins, [pair("u", "p"), pair("u", "p"), pair("u", "p")]);
    }
}
