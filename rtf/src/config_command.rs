//! `rtf config check|print`.

use crate::cli::ConfigCommand;
use crate::{load, out};
use std::process::ExitCode;

/// Runs it.
///
/// # Errors
/// A configuration that is not accepted.
pub fn run(command: ConfigCommand) -> anyhow::Result<ExitCode> {
    match command {
        ConfigCommand::Print(args) => drop(out::write(load(&args)?.print().as_bytes())?),
        ConfigCommand::Check(args) => {
            let config = load(&args.config)?;
            let warnings: Vec<String> = config.check().iter().map(ToString::to_string).collect();
            if args.json {
                out::line(serde_json::json!({ "ok": true, "warnings": warnings }))?;
            } else {
                for warning in warnings {
                    out::line(warning)?;
                }
                out::line(format_args!(
                    "the configuration is good: {} joins `{}` with `{}`",
                    config.join.name, config.join.foreign.topic, config.join.primary.topic
                ))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
