//! `rtf completions`: what a shell must know to complete commands and flags.

use crate::cli::Cli;
use crate::out;
use clap::{Args, CommandFactory};
use clap_complete::Shell;

/// `rtf completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// Which shell
    shell: Shell,
}

/// Prints the script.
///
/// # Errors
/// It cannot be written.
pub fn run(args: &CompletionsArgs) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "rtf", &mut script);
    out::write(&script).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_shell_learns_the_commands() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "rtf", &mut script);
            let script = String::from_utf8(script).expect("scripts are text");
            for command in ["doctor", "init", "tail", "registry", "log-level"] {
                assert!(script.contains(command), "{shell}: {command}");
            }
        }
    }
}
