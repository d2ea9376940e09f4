//! One source of keys: the defaults, a file, the environment, flags. Knows where each key of its own stands.

use figment::providers::{Format, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Metadata, Profile, Provider};
use std::path::{Path, PathBuf};

/// What a variable begins with. Two underscores: RTF_LOG and RTF_CONFIG are not keys.
const PREFIX: &str = "RTF__";
/// The table whose keys are librdkafka's, dots and all.
const PROPERTIES: [&str; 2] = ["kafka", "properties"];

/// Keys with their values, and where they come from.
#[derive(Clone)]
pub(crate) struct Layer {
    source: Source,
    dict: Dict,
}

#[derive(Clone)]
enum Source {
    Defaults,
    File { path: PathBuf, text: String },
    Text,
    Environment,
    Flags,
}

impl Layer {
    /// The compiled-in document.
    pub(crate) fn defaults(text: &str) -> Self {
        let dict = parsed(text).expect("the defaults are TOML");
        Self::new(Source::Defaults, dict)
    }

    /// A file that has been read. The error is the parser's.
    pub(crate) fn file(path: &Path, text: String) -> Result<Self, Box<figment::Error>> {
        let dict = parsed(&text)?;
        let path = path.to_owned();
        Ok(Self::new(Source::File { path, text }, dict))
    }

    /// A document that stands in the program. The error is the parser's.
    pub(crate) fn text(text: &str) -> Result<Self, Box<figment::Error>> {
        Ok(Self::new(Source::Text, parsed(text)?))
    }

    /// Those variables that are keys. `defaults` say which type each has.
    pub(crate) fn environment(
        variables: impl IntoIterator<Item = (String, String)>,
        defaults: &Self,
    ) -> Self {
        let mut layer = Self::new(Source::Environment, Dict::new());
        for (name, text) in variables {
            if let Some(key) = name.strip_prefix(PREFIX) {
                layer.put(&variable_path(key), &text, defaults);
            }
        }
        layer
    }

    /// Dotted keys with their values as typed.
    pub(crate) fn flags(overrides: &[(String, String)], defaults: &Self) -> Self {
        let mut layer = Self::new(Source::Flags, Dict::new());
        for (key, text) in overrides {
            layer.put(&flag_path(key), text, defaults);
        }
        layer
    }

    fn new(source: Source, dict: Dict) -> Self {
        Self { source, dict }
    }

    fn put(&mut self, path: &[String], text: &str, defaults: &Self) {
        let value = typed(text, defaults.find(path));
        insert(&mut self.dict, path, value);
    }

    /// The value at a path, if this layer has it. Below a list the list itself is found.
    fn find(&self, path: &[String]) -> Option<&Value> {
        let (first, rest) = path.split_first()?;
        let mut value = self.dict.get(first)?;
        for key in rest {
            match value {
                Value::Dict(_, fields) => value = fields.get(key)?,
                Value::Array(..) => return Some(value),
                _ => return None,
            }
        }
        Some(value)
    }

    /// Where a key stands, for people; none if this layer does not have it.
    pub(crate) fn place(&self, path: &[String]) -> Option<String> {
        self.find(path)?;
        Some(match &self.source {
            Source::Defaults => "the defaults".into(),
            Source::Text => "configuration".into(),
            Source::Flags => format!("flag {}", path.join(".")),
            Source::Environment => {
                let name = path.join("__").to_uppercase();
                format!("environment variable {PREFIX}{name}")
            }
            Source::File { path: file, text } => {
                let line = line_of(text, path)
                    .map(|line| format!(", line {line}"))
                    .unwrap_or_default();
                format!("{}{line}", file.display())
            }
        })
    }
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named("configuration")
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.dict.clone()))
    }
}

fn parsed(text: &str) -> Result<Dict, Box<figment::Error>> {
    let mut profiles = Toml::string(text).data().map_err(Box::new)?;
    Ok(profiles.remove(&Profile::Default).unwrap_or_default())
}

/// `JOIN__FOREIGN__TOPIC` is join.foreign.topic; `KAFKA__PROPERTIES__SASL_PASSWORD` is the property sasl.password,
/// since a shell knows no dots in names and librdkafka's names have no underscores.
fn variable_path(key: &str) -> Vec<String> {
    let key = key.to_lowercase();
    let parts: Vec<&str> = key.split("__").collect();
    match parts.split_at_checked(PROPERTIES.len()) {
        Some((table, property)) if table == PROPERTIES && !property.is_empty() => {
            property_path(&property.join(".").replace('_', "."))
        }
        _ => parts.into_iter().map(str::to_owned).collect(),
    }
}

fn flag_path(key: &str) -> Vec<String> {
    match key.strip_prefix("kafka.properties.") {
        Some(property) => property_path(property),
        None => key.split('.').map(str::to_owned).collect(),
    }
}

fn property_path(property: &str) -> Vec<String> {
    let table = PROPERTIES.map(str::to_owned);
    table.into_iter().chain([property.to_owned()]).collect()
}

/// A text as the value its key wants: where a text is wanted it stays what was typed, be it `007` or `true`.
fn typed(text: &str, default: Option<&Value>) -> Value {
    let guessed = || text.parse().unwrap_or_else(|never| match never {});
    match default {
        Some(Value::Array(..)) if text.trim_start().starts_with('[') => guessed(),
        Some(Value::Array(..)) if text.is_empty() => Value::from(Vec::<String>::new()),
        // One pointer, one address: a list of it.
        Some(Value::Array(..)) => Value::from(vec![text]),
        Some(Value::Num(..) | Value::Bool(..)) => guessed(),
        _ => Value::from(text),
    }
}

fn insert(dict: &mut Dict, path: &[String], value: Value) {
    let Some((first, rest)) = path.split_first() else {
        return;
    };
    if rest.is_empty() {
        dict.insert(first.clone(), value);
        return;
    }
    let entry = dict
        .entry(first.clone())
        .or_insert_with(|| Value::from(Dict::new()));
    if !matches!(entry, Value::Dict(..)) {
        *entry = Value::from(Dict::new());
    }
    if let Value::Dict(_, fields) = entry {
        insert(fields, rest, value);
    }
}

/// The line, from 1, on which a key stands, or the list it belongs to.
fn line_of(text: &str, path: &[String]) -> Option<usize> {
    let document = toml_edit::Document::parse(text).ok()?;
    let mut table: &dyn toml_edit::TableLike = document.as_table();
    let mut at = None;
    for key in path {
        let Some((name, item)) = table.get_key_value(key) else {
            break;
        };
        at = name.span().or(item.span()).or(at);
        match item.as_table_like() {
            Some(inner) => table = inner,
            None => break,
        }
    }
    let before = text.get(..at?.start)?;
    Some(before.matches('\n').count() + 1)
}
