//! What must be neither printed nor logged.

use crate::reference;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::collections::BTreeMap;
use std::fmt;

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
    let is = |at: usize, names: &[&str]| path.get(at).is_some_and(|key| names.contains(&&**key));
    is(0, &["redis", "kafka", "admin"]) || is(1, &["auth"])
}

/// A text that may be secret. It may name a file or a variable, `${file:PATH}` or `${env:NAME}`, which is read when the configuration is.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret {
    written: String,
    value: String,
}

impl Secret {
    /// What is meant; to be neither printed nor logged.
    pub fn reveal(&self) -> &str {
        &self.value
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.value.is_empty()
    }

    /// Where it is read from, if it is; else whether there is one.
    fn shown(&self) -> &str {
        match self.written.as_str() {
            "" => "",
            written if reference::is_one(written) => written,
            _ => MASK,
        }
    }

    fn resolved(written: String) -> Result<Self, String> {
        let value = reference::resolved(&written)?;
        Ok(Self { written, value })
    }
}

/// A text that means itself.
impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self {
            written: text.clone(),
            value: text,
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.shown())
    }
}

/// As it may be shown.
impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.shown())
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::resolved(String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// A URL that may hold a password, of which the rest may be shown.
pub(crate) mod url {
    use super::{Secret, masked_url};
    use serde::Serializer;

    pub(crate) fn serialize<S: Serializer>(url: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&shown(url))
    }

    pub(crate) fn shown(url: &Secret) -> String {
        masked_url(&url.written)
    }
}

/// The properties of Kafka's client with what their references stand for.
///
/// # Errors
/// What cannot be had, and which property wants it.
pub(crate) fn properties(
    written: BTreeMap<String, String>,
) -> Result<BTreeMap<String, Secret>, String> {
    let resolved = written.into_iter().map(|(name, text)| {
        let secret = Secret::resolved(text).map_err(|words| format!("{name}: {words}"))?;
        Ok((name, secret))
    });
    resolved.collect()
}

/// The properties as they may be written down; a secret that stands in none of its references may not.
pub(crate) fn written_properties(
    properties: &BTreeMap<String, Secret>,
) -> impl Iterator<Item = (&str, Option<&str>)> {
    properties.iter().map(|(name, value)| {
        let may_be = !is_secret(name) || reference::is_one(&value.written);
        (name.as_str(), may_be.then_some(value.written.as_str()))
    })
}

/// The properties as they may be shown.
pub(crate) fn shown_properties(properties: &BTreeMap<String, Secret>) -> BTreeMap<&str, &str> {
    written_properties(properties)
        .map(|(name, written)| (name, written.unwrap_or(MASK)))
        .collect()
}

/// Whether a property's value is a secret.
fn is_secret(property: &str) -> bool {
    SECRET_NAMES.iter().any(|word| property.contains(word))
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
        let shown = |name: &str, text: &str| {
            let properties = [(name.to_owned(), Secret::from(text.to_owned()))].into();
            shown_properties(&properties)[name].to_owned()
        };
        for name in [
            "sasl.password",
            "ssl.key.password",
            "sasl.jaas.config",
            "sasl.oauthbearer.client.secret",
            "ssl.key.pem",
        ] {
            assert_eq!(shown(name, "x"), MASK, "{name}");
            assert_eq!(shown(name, "${file:/x}"), "${file:/x}", "{name}");
            assert_eq!(shown(name, "x${file:/x}"), MASK, "{name}");
        }
        assert_eq!(shown("ssl.ca.location", "x"), "x");
        assert_eq!(shown("ssl.key.location", "x"), "x");
    }
}
