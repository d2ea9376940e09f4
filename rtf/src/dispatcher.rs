//! `rtf dispatcher`: runs the role, or looks after running ones.

mod actions;
mod args;
mod status;

pub use args::{DispatcherArgs, DispatcherCommand};

use crate::registry::answers::{self, Answer};
use crate::registry::replica::{self, Replica};
use crate::replay;
use crate::roles::{self, Role};
use crate::watch;
use rtf_config::Config;
use std::process::ExitCode;

/// Runs the role, or the command that is given.
///
/// # Errors
/// See each command; what a dispatcher answers is no error but part of the answer.
pub async fn run(config: &Config, command: Option<DispatcherCommand>) -> anyhow::Result<ExitCode> {
    let all = |endpoints: &[String]| dispatchers(config, endpoints);
    let Some(command) = command else {
        roles::run(config, &[Role::Dispatcher]).await?;
        return Ok(ExitCode::SUCCESS);
    };
    match command {
        DispatcherCommand::Status(args) => {
            let (dispatchers, json) = (all(&args.to.endpoint)?, args.to.json);
            watch::show(&args.watch, || status::report(&dispatchers, json)).await
        }
        DispatcherCommand::Pause(to) => {
            each(
                &all(&to.endpoint)?,
                to.json,
                crate::registry::actions::pause,
            )
            .await
        }
        DispatcherCommand::Resume(to) => {
            each(
                &all(&to.endpoint)?,
                to.json,
                crate::registry::actions::resume,
            )
            .await
        }
        DispatcherCommand::Drain { within, to } => {
            let drain = |dispatcher| actions::drain(dispatcher, within.0);
            each(&all(&to.endpoint)?, to.json, drain).await
        }
        DispatcherCommand::RetryNow { which, to } => {
            let asked = which.asked();
            let retry = |dispatcher| actions::retry_now(dispatcher, asked.clone());
            each(&all(&to.endpoint)?, to.json, retry).await
        }
        DispatcherCommand::LogLevel { filter, to } => {
            let log = |dispatcher| crate::registry::actions::log_level(dispatcher, &filter);
            each(&all(&to.endpoint)?, to.json, log).await
        }
        DispatcherCommand::Replay(args) => replay::run(config, args.through_dispatchers()).await,
    }
}

/// Those asked for, else all that are configured.
///
/// # Errors
/// An address that is none.
pub fn dispatchers(config: &Config, endpoints: &[String]) -> anyhow::Result<Vec<Replica>> {
    replica::at(config, endpoints, config.dispatchers())
}

/// Does the same to each dispatcher, all at once, and prints a line for each.
async fn each<'a, F>(
    dispatchers: &'a [Replica],
    json: bool,
    action: impl Fn(&'a Replica) -> F,
) -> anyhow::Result<ExitCode>
where
    F: Future<Output = Answer>,
{
    let answers = futures::future::join_all(dispatchers.iter().map(action)).await;
    answers::print_of("dispatchers", &answers, json)
}
