//! What one check found, and how it is shown. Knows no server.

use crate::paint;
use serde_json::{Value, json};
use std::fmt::Display;

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Status {
    /// As it should be.
    Ok,
    /// It works, and somebody should look at it.
    Warn,
    /// It does not work, or data is in danger.
    Fail,
}

impl Status {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One line of the report.
#[derive(Clone, PartialEq, Debug)]
pub struct Finding {
    /// What was looked at, in a word or two.
    pub subject: String,
    /// How it is.
    pub status: Status,
    /// What was seen.
    pub words: String,
    /// What to do; empty where there is nothing to do.
    pub advice: String,
}

impl Finding {
    /// It is as it should be.
    pub fn ok(subject: impl Into<String>, words: impl Display) -> Self {
        Self::new(subject, Status::Ok, words, "")
    }

    /// Somebody should look at it.
    pub fn warn(
        subject: impl Into<String>,
        words: impl Display,
        advice: impl Into<String>,
    ) -> Self {
        Self::new(subject, Status::Warn, words, advice)
    }

    /// It does not work.
    pub fn fail(
        subject: impl Into<String>,
        words: impl Display,
        advice: impl Into<String>,
    ) -> Self {
        Self::new(subject, Status::Fail, words, advice)
    }

    fn new(
        subject: impl Into<String>,
        status: Status,
        words: impl Display,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            subject: subject.into(),
            status,
            words: words.to_string(),
            advice: advice.into(),
        }
    }

    /// For people.
    pub fn line(&self) -> String {
        let word = format!("{:<4}", self.status.word());
        let word = match self.status {
            Status::Ok => paint::good(&word),
            Status::Warn => paint::doubtful(&word),
            Status::Fail => paint::bad(&word),
        };
        let line = format!("{word}  {:<16}  {}\n", self.subject, self.words);
        if self.advice.is_empty() {
            return line;
        }
        format!("{line}{:24}→ {}\n", "", self.advice)
    }

    /// For programs.
    pub fn json(&self) -> Value {
        json!({ "check": self.subject, "status": self.status.word(), "words": self.words, "advice": self.advice })
    }
}
