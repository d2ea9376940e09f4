//! How Redis is reached: where it is, who we are, and which certificates are trusted.

use crate::pem;
use anyhow::Context;
use redis::{Client, ClientTlsConfig, ConnectionInfo, IntoConnectionInfo, TlsCertificates};
use rtf_config::{Config, Tls};

/// A client, which connects when it is first used.
///
/// # Errors
/// An address that is none, or a certificate that cannot be read.
pub fn open(config: &Config) -> anyhow::Result<Client> {
    let address = address(config)?;
    let tls = &config.redis.tls;
    if tls.is_empty() {
        return Client::open(address).context("[redis].url");
    }
    Client::build_with_tls(address, certificates(tls)?).context("[redis.tls]")
}

/// The words never repeat the URL, which may hold a password.
fn address(config: &Config) -> anyhow::Result<ConnectionInfo> {
    let address = config.redis.url.reveal().into_connection_info();
    let address = address.context("[redis].url")?;
    if config.redis.password.is_empty() {
        return Ok(address);
    }
    let who = address.redis_settings().clone();
    Ok(address.set_redis_settings(who.set_password(config.redis.password.reveal())))
}

fn certificates(tls: &Tls) -> anyhow::Result<TlsCertificates> {
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
    Ok(TlsCertificates {
        client_tls,
        root_cert: pem::read("redis.tls.ca", &tls.ca)?,
    })
}

/// What to do about an error of a connection that could not be made.
pub fn advice(words: &str) -> &'static str {
    let is = |signs: &[&str]| signs.iter().any(|sign| words.contains(sign));
    if is(&[
        "WRONGPASS",
        "NOAUTH",
        "authentication failed",
        "AuthenticationFailed",
    ]) {
        "correct the user in [redis].url, and the password there or in [redis].password"
    } else if is(&["invalid peer certificate"]) {
        "name the authority that signed Redis's certificate in [redis.tls].ca, and in [redis].url a host that the certificate is made out to"
    } else if is(&["CertificateRequired", "certificate required"]) {
        "Redis wants a certificate of ours: set [redis.tls].certificate and key, or its tls-auth-clients to no"
    } else {
        "start it, or correct [redis].url (rediss:// if it wants TLS, redis:// if not); until then rows wait in the join log, and nothing is lost"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(redis: &str) -> Config {
        Config::from_toml(&format!("[redis]\n{redis}")).expect("it is TOML with our keys")
    }

    #[test]
    fn the_password_may_stand_beside_the_address() {
        let password = |redis: &str| {
            let client = open(&config(redis)).expect("it is an address");
            let who = client.get_connection_info().redis_settings();
            (
                who.username().unwrap_or_default().to_owned(),
                who.password().unwrap_or_default().to_owned(),
            )
        };
        let pair = |user: &str, password: &str| (user.to_owned(), password.to_owned());
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
}
