//! Defaults, file, environment, flags: the later wins.

use crate::check::Severity;
use crate::error::ConfigError;
use crate::model::Config;
use figment::providers::{Env, Format, Serialized, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};
use std::path::Path;

pub(crate) const DEFAULTS: &str = include_str!("defaults.toml");

/// Where the key in an error stands, for people.
const SOURCES: [(&str, &str); 2] = [("defaults", "the defaults"), ("flags", "the flags")];

impl Config {
    /// Reads the configuration. `overrides` are flags: dotted keys with their values as typed.
    ///
    /// # Errors
    /// The first thing that is wrong, with its place and what is accepted there.
    pub fn load(file: Option<&Path>, overrides: &[(String, String)]) -> Result<Self, ConfigError> {
        let mut figment = Figment::from(Toml::string(DEFAULTS));
        if let Some(path) = file {
            let text = std::fs::read_to_string(path).map_err(|e| file_error(path, &e))?;
            // Parsed here first: its words name line and column.
            text.parse::<toml_edit::DocumentMut>()
                .map_err(|e| file_error(path, &e))?;
            figment = figment.merge(Toml::string(&text));
        }
        let config = Self::resolve(figment.merge(environment()).merge(Flags(overrides)), file)?;
        let errors: Vec<_> = config
            .check()
            .into_iter()
            .filter(|problem| problem.severity == Severity::Error)
            .collect();
        if errors.is_empty() {
            Ok(config)
        } else {
            Err(ConfigError::Problems(errors))
        }
    }

    fn resolve(figment: Figment, file: Option<&Path>) -> Result<Self, ConfigError> {
        figment
            .extract()
            .map_err(|error| ConfigError::Key(words(&error, file)))
    }

    /// The defaults with these keys set: what the demonstration and tests are made of.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        Self::resolve(
            Figment::from(Toml::string(DEFAULTS)).merge(Toml::string(text)),
            None,
        )
    }

    /// The defaults with these values on top.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn from_value(value: serde_json::Value) -> Result<Self, ConfigError> {
        Self::resolve(
            Figment::from(Toml::string(DEFAULTS)).merge(Serialized::defaults(value)),
            None,
        )
    }
}

fn file_error(path: &Path, error: &dyn std::fmt::Display) -> ConfigError {
    ConfigError::File {
        path: path.display().to_string(),
        words: error.to_string().trim_end().to_owned(),
    }
}

fn environment() -> Env {
    // RTF__ with two underscores; RTF_LOG and RTF_CONFIG are not keys.
    Env::prefixed("RTF__").split("__")
}

/// The first error of several, in words: the key, what is wrong, what is accepted, and where it came from.
fn words(error: &figment::Error, file: Option<&Path>) -> String {
    use figment::error::Kind;
    let path = error.path.join(".");
    let place = |what: &str| {
        if path.is_empty() {
            what.to_owned()
        } else {
            format!("{what} in [{path}]")
        }
    };
    let words = match &error.kind {
        Kind::UnknownField(key, accepted) => {
            let near = nearest(key, accepted)
                .map(|near| format!(" (did you mean `{near}`?)"))
                .unwrap_or_default();
            format!(
                "unknown key `{key}`{near}{}; accepted: {}",
                if path.is_empty() {
                    String::new()
                } else {
                    format!(" in [{path}]")
                },
                accepted.join(", ")
            )
        }
        Kind::UnknownVariant(value, accepted) => format!(
            "`{path}` = `{value}` is not one of: {}",
            accepted.join(", ")
        ),
        Kind::InvalidType(found, expected) => format!("`{path}` is {found}, expected {expected}"),
        Kind::InvalidValue(found, expected) => format!("`{path}` is {found}, expected {expected}"),
        Kind::MissingField(key) => place(&format!("`{key}` is missing")),
        _ => place(&error.kind.to_string()),
    };
    match origin(error, file) {
        Some(origin) => format!("{words} (from {origin})"),
        None => words,
    }
}

fn origin(error: &figment::Error, file: Option<&Path>) -> Option<String> {
    let name = &error.metadata.as_ref()?.name;
    if let Some((_, words)) = SOURCES.iter().find(|(source, _)| name.contains(source)) {
        return Some((*words).to_owned());
    }
    if name.contains("environment") {
        return Some("the environment".to_owned());
    }
    file.map(|path| path.display().to_string())
}

/// The accepted key that is most like what was typed, if any is.
fn nearest<'a>(typed: &str, accepted: &[&'a str]) -> Option<&'a str> {
    let near = accepted
        .iter()
        .map(|key| (distance(typed, key), *key))
        .min()?;
    (near.0 <= 2).then_some(near.1)
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

/// `--set key=value` and its like.
struct Flags<'a>(&'a [(String, String)]);

impl Provider for Flags<'_> {
    fn metadata(&self) -> Metadata {
        Metadata::named("flags")
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let mut dict = Dict::new();
        for (key, text) in self.0 {
            // As in the environment: a number, a list or a plain string.
            let value: Value = text.parse().unwrap_or_else(|never| match never {});
            let nested = figment::util::nest(key, value);
            merge(&mut dict, nested);
        }
        Ok(Profile::Default.collect(dict))
    }
}

fn merge(into: &mut Dict, value: Value) {
    let Value::Dict(_, fields) = value else {
        return;
    };
    for (key, value) in fields {
        match (into.get_mut(&key), value) {
            (Some(Value::Dict(_, known)), value @ Value::Dict(..)) => merge(known, value),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}
