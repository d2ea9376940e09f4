//! How the program ends: 0 stopped cleanly, 1 failed, 64 bad usage or configuration.

use std::fmt;
use std::process::ExitCode;

/// Bad usage or configuration.
pub const USAGE: u8 = 64;

/// Ended by Ctrl-C, as shells count it.
pub const INTERRUPTED: i32 = 130;

/// An error that is the user's to correct before trying again.
#[derive(Debug)]
pub struct Usage(String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl std::error::Error for Usage {}

/// An error of usage or configuration.
pub fn usage(words: impl Into<String>) -> anyhow::Error {
    anyhow::Error::new(Usage(words.into()))
}

/// Prints an error with its causes, once, and chooses the exit code.
pub fn report(result: anyhow::Result<ExitCode>) -> ExitCode {
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("rtf: {error:#}");
            if error.downcast_ref::<Usage>().is_some() {
                ExitCode::from(USAGE)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}
