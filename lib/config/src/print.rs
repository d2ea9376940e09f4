//! `rtf config print`: the annotated defaults with the effective values. Secrets stay secret.

use crate::load::DEFAULTS;
use crate::model::Config;
use toml_edit::{Array, DocumentMut, InlineTable, Item, Table, Value};

impl Config {
    /// The whole configuration as TOML, each key with its meaning; secrets are masked, or named by the file or variable they stand in.
    pub fn print(&self) -> String {
        let mut document: DocumentMut = DEFAULTS.parse().expect("the defaults are TOML");
        let values = serde_json::to_value(self).expect("a configuration is plain data");
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
        match table.get_mut(key) {
            Some(Item::Table(inner)) => set(inner, value),
            Some(Item::Value(old)) => {
                let decor = old.decor().clone();
                *old = toml(value);
                *old.decor_mut() = decor;
            }
            _ => {
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
        serde_json::Value::Array(items) => list(items).into(),
        serde_json::Value::Object(fields) => fields
            .iter()
            .map(|(key, value)| (key, toml(value)))
            .collect::<InlineTable>()
            .into(),
        serde_json::Value::Null => "".into(),
    }
}

/// Short values stand side by side, tables one a line.
fn list(items: &[serde_json::Value]) -> Array {
    let mut list: Array = items.iter().map(toml).collect();
    if items.iter().any(serde_json::Value::is_object) {
        for item in list.iter_mut() {
            item.decor_mut().set_prefix("\n    ");
        }
        list.set_trailing_comma(true);
        list.set_trailing("\n");
    }
    list
}
