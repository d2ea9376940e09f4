//! `rtf registry`: runs the role, or looks after running ones.

pub(crate) mod actions;
pub(crate) mod answers;
mod args;
mod digest;
mod lookup;
mod parts;
mod rebuild;
pub(crate) mod replica;
mod status;

pub use args::{RegistryArgs, RegistryCommand};

use crate::cli::Target;
use crate::roles::{self, Role};
use crate::watch;
use replica::{Replica, replicas};
use rtf_config::Config;
use std::process::ExitCode;

/// Runs the role, or the command that is given.
///
/// # Errors
/// See each command; what a replica answers is no error but part of the answer.
pub async fn run(config: &Config, command: Option<RegistryCommand>) -> anyhow::Result<ExitCode> {
    let all = |target: &Target| replicas(config, &target.endpoint);
    let Some(command) = command else {
        roles::run(config, &[Role::Registry]).await?;
        return Ok(ExitCode::SUCCESS);
    };
    match command {
        RegistryCommand::Status(args) => {
            let (replicas, json) = (all(&args.to)?, args.to.json);
            watch::show(&args.watch, || status::report(&replicas, json)).await
        }
        RegistryCommand::Lookup { id, to } => lookup::run(&all(&to)?, &id, to.json).await,
        RegistryCommand::Digest(to) => digest::run(&all(&to)?, to.json).await,
        RegistryCommand::Gc(to) => each(&all(&to)?, to.json, actions::gc).await,
        RegistryCommand::Pause(to) => each(&all(&to)?, to.json, actions::pause).await,
        RegistryCommand::Resume(to) => each(&all(&to)?, to.json, actions::resume).await,
        RegistryCommand::Drain { within, to } => {
            each(&all(&to)?, to.json, |replica| {
                actions::drain(replica, within.0)
            })
            .await
        }
        RegistryCommand::LogLevel { filter, to } => {
            each(&all(&to)?, to.json, |replica| {
                actions::log_level(replica, &filter)
            })
            .await
        }
        RegistryCommand::Retire { topic_id, to } => {
            let topic = actions::topic(&topic_id)?;
            let retire = |replica| actions::retire(replica, topic);
            parts::once(&all(&to)?, to.json, retire).await
        }
        RegistryCommand::Split {
            partitions,
            dry_run,
            to,
        } => {
            let split = |replica| actions::split(replica, partitions, dry_run);
            parts::once(&all(&to)?, to.json, split).await
        }
        RegistryCommand::Rebuild(args) => rebuild::run(config, args).await,
    }
}

/// Does the same to each replica, all at once, and prints a line for each.
async fn each<'a, F>(
    replicas: &'a [Replica],
    json: bool,
    action: impl Fn(&'a Replica) -> F,
) -> anyhow::Result<ExitCode>
where
    F: Future<Output = answers::Answer>,
{
    let answers = futures::future::join_all(replicas.iter().map(action)).await;
    answers::print(&answers, json)
}
