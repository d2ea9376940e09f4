//! What must be neither printed nor logged.

const MASK: &str = "****";

/// Parts of the names of librdkafka properties whose values are secrets.
const SECRET_NAMES: [&str; 7] = [
    "password",
    "secret",
    "jaas",
    "token",
    "passphrase",
    "private.key",
    "key.pem",
];

/// Whether a text found at this path may hold a secret, be it in the wrong place.
pub(crate) fn may_be_in(path: &[String]) -> bool {
    path.first()
        .is_some_and(|section| ["redis", "kafka", "admin"].contains(&section.as_str()))
}

/// A secret as it may be shown: whether there is one.
pub(crate) fn masked(secret: &str) -> String {
    if secret.is_empty() {
        String::new()
    } else {
        MASK.into()
    }
}

/// A URL whose password is hidden, before the host or as the query parameter of a Unix socket.
pub(crate) fn masked_url(url: &str) -> String {
    mask_query(&mask_authority(url))
}

fn mask_authority(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.into();
    };
    let Some((credentials, host)) = rest.rsplit_once('@') else {
        return url.into();
    };
    match credentials.split_once(':') {
        Some((user, _)) => format!("{scheme}://{user}:{MASK}@{host}"),
        None => format!("{scheme}://{credentials}@{host}"),
    }
}

fn mask_query(url: &str) -> String {
    let Some((base, query)) = url.split_once('?') else {
        return url.into();
    };
    let pairs: Vec<String> = query
        .split('&')
        .map(|pair| match pair.split_once('=') {
            Some((name @ ("pass" | "password"), _)) => format!("{name}={MASK}"),
            _ => pair.to_owned(),
        })
        .collect();
    format!("{base}?{}", pairs.join("&"))
}

/// A property's value, hidden if it is a secret.
pub(crate) fn masked_property(key: &str, value: &str) -> String {
    if SECRET_NAMES.iter().any(|word| key.contains(word)) {
        MASK.into()
    } else {
        value.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_hidden_wherever_a_url_may_have_them() {
        for (url, shown) in [
            ("redis://h:1/0", "redis://h:1/0"),
            ("redis://user@h", "redis://user@h"),
            ("redis://user:p@ss:w@h:1/0", "redis://user:****@h:1/0"),
            ("redis://:pw@h", "redis://:****@h"),
            (
                "redis+unix:///s?db=1&pass=pw&user=u",
                "redis+unix:///s?db=1&pass=****&user=u",
            ),
        ] {
            assert_eq!(masked_url(url), shown);
        }
    }

    #[test]
    fn only_secret_properties_are_hidden() {
        for name in [
            "sasl.password",
            "ssl.key.password",
            "sasl.jaas.config",
            "sasl.oauthbearer.client.secret",
            "ssl.key.pem",
        ] {
            assert_eq!(masked_property(name, "x"), MASK, "{name}");
        }
        assert_eq!(masked_property("ssl.ca.location", "x"), "x");
        assert_eq!(masked_property("ssl.key.location", "x"), "x");
    }
}
