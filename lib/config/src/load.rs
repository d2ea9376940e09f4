//! Defaults, file, environment, flags: the later wins.

use crate::check::{Problem, Severity};
use crate::error::ConfigError;
use crate::layer::Layer;
use crate::model::{Config, Kafka};
use crate::words::explain;
use figment::Figment;
use std::path::Path;

pub(crate) const DEFAULTS: &str = include_str!("defaults.toml");

impl Config {
    /// Reads the configuration. `overrides` are flags: dotted keys with their values as typed.
    ///
    /// # Errors
    /// What is wrong, with its place and what is accepted there; keys that are required and missing, together.
    pub fn load(file: Option<&Path>, overrides: &[(String, String)]) -> Result<Self, ConfigError> {
        Self::load_with(file, environment(), overrides)
    }

    /// As [`load`](Self::load), in this environment instead of the process's.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_with(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
        overrides: &[(String, String)],
    ) -> Result<Self, ConfigError> {
        let config = merged(file, environment, overrides)?;
        refuse(file, config.check(), |_| true)?;
        Ok(config)
    }

    /// Reads `[kafka]` alone, for commands that need nothing else: what is required elsewhere may be missing.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_kafka(
        file: Option<&Path>,
        overrides: &[(String, String)],
    ) -> Result<Kafka, ConfigError> {
        Self::load_sections(file, overrides, &["kafka."]).map(|config| config.kafka)
    }

    /// As [`load`](Self::load), for commands that need only the keys which begin so: what is required elsewhere may be missing.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_sections(
        file: Option<&Path>,
        overrides: &[(String, String)],
        sections: &[&str],
    ) -> Result<Self, ConfigError> {
        let config = merged(file, environment(), overrides)?;
        let is_needed = |key: &str| sections.iter().any(|section| key.starts_with(section));
        refuse(file, config.check(), is_needed)?;
        Ok(config)
    }

    /// The defaults with a document's keys on top: what the demonstration and tests are made of. Not checked.
    ///
    /// # Errors
    /// As [`load`](Self::load), but for what does not go together.
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        let layer = Layer::text(text).map_err(|error| ConfigError::Key {
            place: "configuration".into(),
            words: error.to_string(),
        })?;
        resolve(&[Layer::defaults(DEFAULTS), layer])
    }
}

/// The process's. A name or value that is no Unicode cannot be meant for us; the rest must not suffer for it.
fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        .map(|(name, value)| (name, value.to_string_lossy().into_owned()))
}

fn merged(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
    overrides: &[(String, String)],
) -> Result<Config, ConfigError> {
    let defaults = Layer::defaults(DEFAULTS);
    let mut layers = vec![defaults.clone()];
    if let Some(path) = file {
        layers.push(read(path)?);
    }
    layers.push(Layer::environment(environment, &defaults));
    layers.push(Layer::flags(overrides, &defaults));
    resolve(&layers)
}

/// What is an error, and about such keys.
fn refuse(
    file: Option<&Path>,
    mut problems: Vec<Problem>,
    concerns: impl Fn(&str) -> bool,
) -> Result<(), ConfigError> {
    problems.retain(|problem| problem.severity == Severity::Error && concerns(&problem.key));
    if problems.is_empty() {
        return Ok(());
    }
    let file = file.map(Path::to_owned);
    Err(ConfigError::Problems { file, problems })
}

fn resolve(layers: &[Layer]) -> Result<Config, ConfigError> {
    layers
        .iter()
        .fold(Figment::new(), |all, layer| all.merge(layer.clone()))
        .extract()
        .map_err(|error| explain(&error, layers))
}

fn read(path: &Path) -> Result<Layer, ConfigError> {
    let refused = |words: String| ConfigError::File {
        path: path.to_owned(),
        words,
    };
    let text = std::fs::read_to_string(path).map_err(|error| refused(format!(": {error}")))?;
    // Parsed here first: its error knows line and column. Not by toml_edit, which panics where a broken value is used as a table further down.
    if let Err(error) = text.parse::<toml::Table>() {
        return Err(refused(syntax(&text, &error)));
    }
    Layer::file(path, text).map_err(|error| refused(format!(": {error}")))
}

/// Where and what; the line itself is not repeated, it may hold a password.
fn syntax(text: &str, error: &toml::de::Error) -> String {
    let words = error.message().replace('\n', ", ");
    let before = error.span().and_then(|span| text.get(..span.start));
    match before {
        Some(before) => {
            let line = before.matches('\n').count() + 1;
            let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
            format!(", line {line}, column {column}: {words}")
        }
        None => format!(": {words}"),
    }
}
