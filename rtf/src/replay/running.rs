//! Through the running dispatchers: each goes back in the partitions that are assigned to it.

use super::args::ReplayArgs;
use super::report::Report;
use crate::dispatcher::dispatchers;
use crate::registry::replica::{ANSWER_WITHIN, Replica, within};
use futures::future::join_all;
use rtf_config::Config;
use rtf_proto::pb;

/// Asks all of them, and notes what each partition came to.
///
/// # Errors
/// An address that is none; what a dispatcher answers is part of the report.
pub async fn execute(
    config: &Config,
    args: &ReplayArgs,
    report: &mut Report,
) -> anyhow::Result<()> {
    let dispatchers = dispatchers(config, &args.endpoint)?;
    let changes = report.plan.changes();
    if changes.is_empty() {
        report.executed = true;
        return Ok(());
    }
    let position = |(partition, offset)| pb::ReplayPosition { partition, offset };
    let request = pb::ReplayRequest {
        topic: report.topic.clone(),
        positions: changes.iter().copied().map(position).collect(),
    };
    report.tally_before = super::watch::tally(&dispatchers).await;
    let answers = join_all(dispatchers.iter().map(|d| ask(d, request.clone()))).await;
    for (dispatcher, answer) in dispatchers.iter().zip(answers) {
        match answer {
            Ok(replayed) => replayed.iter().for_each(|replayed| report.note(replayed)),
            Err(words) => report.failures.push(format!("{}: {words}", dispatcher.url)),
        }
    }
    report.count_missing();
    Ok(())
}

async fn ask(
    dispatcher: &Replica,
    request: pb::ReplayRequest,
) -> Result<Vec<pb::Replayed>, String> {
    let request = dispatcher.request(request);
    let answer = within(ANSWER_WITHIN, dispatcher.admin().replay(request)).await?;
    Ok(answer.replayed)
}
