//! `rtf config print`: the annotated defaults with the effective values. Secrets stay secret.

use crate::load::DEFAULTS;
use crate::model::Config;
use toml_edit::{DocumentMut, InlineTable, Item, Table, Value};

const MASK: &str = "****";

impl Config {
    /// The whole configuration as TOML, each key with its meaning; secrets are masked.
    pub fn print(&self) -> String {
        let mut document: DocumentMut = DEFAULTS.parse().expect("the defaults are TOML");
        let mut shown = self.clone();
        shown.redis.url = masked_url(&shown.redis.url);
        for (key, value) in &mut shown.kafka.properties {
            *value = masked_property(key, value);
        }
        let values = serde_json::to_value(&shown).expect("a configuration is plain data");
        set(document.as_table_mut(), &values);
        document.to_string()
    }
}

/// Puts values over a table's, keeping its comments and order.
fn set(table: &mut Table, values: &serde_json::Value) {
    let serde_json::Value::Object(fields) = values else {
        return;
    };
    for (key, value) in fields {
        match (table.get_mut(key), value) {
            (Some(Item::Table(inner)), value) => set(inner, value),
            (Some(item), value) => {
                if let Item::Value(old) = item {
                    let decor = old.decor().clone();
                    let mut new = toml(value);
                    *new.decor_mut() = decor;
                    *old = new;
                }
            }
            (None, value) => {
                table.insert(key, Item::Value(toml(value)));
            }
        }
    }
}

fn toml(value: &serde_json::Value) -> Value {
    match value {
        serde_json::Value::Bool(value) => (*value).into(),
        serde_json::Value::Number(number) => match number.as_i64() {
            Some(number) => number.into(),
            None => number.as_f64().unwrap_or_default().into(),
        },
        serde_json::Value::String(text) => text.as_str().into(),
        serde_json::Value::Array(items) => {
            items.iter().map(toml).collect::<toml_edit::Array>().into()
        }
        serde_json::Value::Object(fields) => fields
            .iter()
            .map(|(key, value)| (key, toml(value)))
            .collect::<InlineTable>()
            .into(),
        serde_json::Value::Null => "".into(),
    }
}

/// The password of a URL, hidden.
pub(crate) fn masked_url(url: &str) -> String {
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

/// A property's value, hidden if it is a secret.
pub(crate) fn masked_property(key: &str, value: &str) -> String {
    let secret = ["password", "secret", "jaas", "ssl.key.pem", "token"];
    if secret.iter().any(|word| key.contains(word)) {
        MASK.into()
    } else {
        value.into()
    }
}
