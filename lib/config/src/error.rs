//! What is wrong with a configuration, and where.

use crate::check::Problem;

/// A configuration that is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("configuration {path}: {words}")]
    File {
        /// The file.
        path: String,
        /// Why.
        words: String,
    },
    /// A key or a value is not accepted.
    #[error("configuration: {0}")]
    Key(String),
    /// Keys are well formed, but do not go together.
    #[error("configuration: {}", list(.0))]
    Problems(Vec<Problem>),
}

fn list(problems: &[Problem]) -> String {
    problems
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}
