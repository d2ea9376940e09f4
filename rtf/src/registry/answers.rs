//! One line per replica: what it did, or why not.

use crate::out;
use serde_json::{Value, json};
use std::fmt::Write;
use std::process::ExitCode;

/// What a replica answered to an action.
pub struct Answer {
    /// Which replica.
    pub url: String,
    /// Whether it did what was asked.
    pub ok: bool,
    /// For people.
    pub words: String,
    /// Fields for programs.
    pub fields: Value,
}

impl Answer {
    /// It did it.
    pub fn done(url: &str, words: impl Into<String>, fields: Value) -> Self {
        Self {
            url: url.into(),
            ok: true,
            words: words.into(),
            fields,
        }
    }

    /// It did not.
    pub fn failed(url: &str, words: impl Into<String>) -> Self {
        let words = words.into();
        Self {
            url: url.into(),
            ok: false,
            fields: json!({ "error": words }),
            words,
        }
    }

    fn json(&self) -> Value {
        let mut json = json!({ "endpoint": self.url, "ok": self.ok });
        if let (Value::Object(json), Value::Object(fields)) = (&mut json, &self.fields) {
            json.extend(fields.clone());
        }
        json
    }
}

/// Prints them; 1 unless all did it.
///
/// # Errors
/// Standard output cannot be written.
pub fn print(answers: &[Answer], as_json: bool) -> anyhow::Result<ExitCode> {
    print_of("replicas", answers, as_json)
}

/// Prints answers of these, whatever they are called.
///
/// # Errors
/// Standard output cannot be written.
pub fn print_of(whom: &str, answers: &[Answer], as_json: bool) -> anyhow::Result<ExitCode> {
    if as_json {
        let all: Vec<Value> = answers.iter().map(Answer::json).collect();
        out::line(json!({ whom: all }))?;
    } else {
        let width = answers.iter().map(|answer| answer.url.len()).max();
        let (width, mut text) = (width.unwrap_or_default(), String::new());
        for Answer { url, words, .. } in answers {
            writeln!(text, "{url:<width$}  {words}")?;
        }
        out::write(text.as_bytes())?;
    }
    Ok(exit_code(answers.iter().all(|answer| answer.ok)))
}

/// 0 when all is well, else 1.
pub fn exit_code(is_well: bool) -> ExitCode {
    if is_well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
