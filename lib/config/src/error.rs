//! What is wrong with a configuration, and where.

use crate::check::Problem;
use std::path::{Path, PathBuf};

/// A configuration that is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read, or is not TOML.
    #[error("configuration {}{words}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Where in it, and why.
        words: String,
    },
    /// A key or a value is not accepted.
    #[error("{place}: {words}")]
    Key {
        /// File and line, variable or flag.
        place: String,
        /// The key, what is wrong and what is accepted.
        words: String,
    },
    /// Keys are well formed, but missing, or do not go together.
    #[error("configuration {}: {}", name(.file.as_deref()), list(.problems))]
    Problems {
        /// The file, if one was given.
        file: Option<PathBuf>,
        /// All of them.
        problems: Vec<Problem>,
    },
}

fn name(file: Option<&Path>) -> String {
    file.map_or_else(
        || "(no file given)".into(),
        |path| path.display().to_string(),
    )
}

fn list(problems: &[Problem]) -> String {
    problems
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}
