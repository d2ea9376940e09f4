//! How an event ended: joined, unjoinable or malformed, and never two of them.

use std::fmt;

/// Why an event was given up. Closed: it is a label of metrics.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Reason {
    /// No partner came within `wait.max`.
    TimedOut,
    /// The joined row is larger than a record of the join log may be.
    RowTooLarge,
}

impl Reason {
    /// The word used in rows, headers and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TimedOut => "timed_out",
            Self::RowTooLarge => "row_too_large",
        }
    }
    /// Wire number.
    pub fn code(self) -> u8 {
        match self {
            Self::TimedOut => 1,
            Self::RowTooLarge => 2,
        }
    }
    /// From the wire number.
    pub fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::TimedOut),
            2 => Some(Self::RowTooLarge),
            _ => None,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How an event was resolved.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Outcome {
    /// Matched; the body is its row.
    Joined,
    /// Given up; the body is the row without partners, and the original.
    Unjoinable(Reason),
    /// Could not be read; the body is the parser's words and the original.
    Malformed,
}

/// Which accepted records a reader of the log is handed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcomes {
    /// All of them.
    All,
    /// Those that ended otherwise than joined: among many rows a few, which whoever reads the log picks out where they lie.
    NotJoined,
}

impl Outcomes {
    /// Whether what ended so is among them.
    pub fn has(self, outcome: Outcome) -> bool {
        self == Self::All || outcome != Outcome::Joined
    }
}

impl Outcome {
    /// The word used in rows, metrics and on the page.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Joined => "joined",
            Self::Unjoinable(_) => "unjoinable",
            Self::Malformed => "malformed",
        }
    }
    /// Wire number: the high byte is the outcome, the low byte its reason.
    pub fn code(self) -> u16 {
        match self {
            Self::Joined => 0x0100,
            Self::Unjoinable(reason) => 0x0200 | u16::from(reason.code()),
            Self::Malformed => 0x0300,
        }
    }
    /// From the wire number.
    pub fn from_code(code: u16) -> Option<Self> {
        let [outcome, reason] = code.to_be_bytes();
        match outcome {
            1 if reason == 0 => Some(Self::Joined),
            2 => Reason::from_code(reason).map(Self::Unjoinable),
            3 if reason == 0 => Some(Self::Malformed),
            _ => None,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unjoinable(reason) => write!(f, "unjoinable ({reason})"),
            other => f.write_str(other.as_str()),
        }
    }
}
