//! `rtf dlq`: looks into the dead-letter topic, and sends letters to be joined again.

mod args;
mod letter;
mod list;
mod replay;
mod wanted;

pub use args::DlqArgs;

use args::DlqCommand;
use letter::Letter;
use rtf_config::Config;
use rtf_kafka::{Cluster, Isolation, Settings};
use rtf_proto::naming;
use std::collections::BTreeMap;
use std::process::ExitCode;
use wanted::Wanted;

use crate::reader::Reader;

/// Runs one of the commands. Blocking.
///
/// # Errors
/// Kafka does not answer, there is no such topic, or what was asked for cannot be meant.
pub fn run(config: &Config, settings: &Settings, command: DlqCommand) -> anyhow::Result<ExitCode> {
    match command {
        DlqCommand::List { which, limit, json } => {
            list::list(&read(config, settings, which.try_into()?, limit)?, json)
        }
        DlqCommand::Show { which, json } => list::show(
            &read(config, settings, Wanted::one(&which), 0)?,
            &which,
            json,
        ),
        DlqCommand::Replay {
            which,
            all,
            execute,
            json,
        } => {
            let wanted = Wanted::try_from(which)?;
            if wanted.is_everything() && !all {
                return Err(crate::exit::usage(
                    "say which letters are to be sent again (--reason, --outcome, --since, --until, --key, --id), or --all",
                ));
            }
            replay::run(config, settings, wanted, execute, json)
        }
    }
}

/// Some of the letters.
struct Letters {
    topic: String,
    /// In the order in which they were written; the newest where there is a limit.
    letters: Vec<Letter>,
    /// How many are wanted, shown or not.
    count: u64,
}

/// Reads the topic to its present end, and keeps the newest `limit` of what is wanted; 0 keeps all.
fn read(
    config: &Config,
    settings: &Settings,
    wanted: Wanted,
    limit: usize,
) -> anyhow::Result<Letters> {
    let mut kept = BTreeMap::new();
    let mut count = 0;
    let topic = each(config, settings, &wanted, |letter| {
        count += 1;
        kept.insert((letter.written_ms, letter.partition, letter.offset), letter);
        if limit > 0 && kept.len() > limit {
            kept.pop_first();
        }
        Ok(())
    })?;
    Ok(Letters {
        topic,
        letters: kept.into_values().collect(),
        count,
    })
}

/// Reads the topic to its present end, each partition in order; says its name.
fn each(
    config: &Config,
    settings: &Settings,
    wanted: &Wanted,
    mut each: impl FnMut(Letter) -> anyhow::Result<()>,
) -> anyhow::Result<String> {
    let topic = naming::dead_letter_topic(&config.join.name);
    let cluster = Cluster::connect(settings)?;
    let committed = Isolation::ReadCommitted;
    let Some(reader) = Reader::open(&cluster, settings, &topic, committed, "dead letters")? else {
        anyhow::bail!(
            "there is no topic `{topic}`: no publisher has run yet, or [join].name is another one"
        );
    };
    reader.read(0..reader.info.partitions, |record| {
        match Letter::of(record) {
            Some(letter) if wanted.is(&letter) => each(letter),
            _ => Ok(()),
        }
    })?;
    Ok(topic)
}
