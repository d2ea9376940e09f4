//! Replicas that serve a part of the log each: who has to be asked for what.

use super::answers::{self, Answer};
use super::replica::{Replica, within};
use futures::future::join_all;
use rtf_proto::client::{Directory, ranges};
use rtf_proto::{PartitionId, RegistryStatus, pb};
use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;

const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Asks a replica what it serves, and how far it is.
///
/// # Errors
/// In words why there is no answer.
pub async fn status(replica: &Replica) -> Result<RegistryStatus, String> {
    let question = pb::RegistryStatusRequest {};
    let status = within(ANSWER_WITHIN, replica.registry().status(question)).await?;
    status
        .try_into()
        .map_err(|bad: rtf_proto::convert::BadMessage| bad.to_string())
}

/// Asks all replicas what they serve.
pub async fn directory(replicas: &[Replica]) -> Directory {
    let mut directory = Directory::new(replicas.iter().map(|replica| replica.url.clone()));
    let statuses = join_all(replicas.iter().map(status)).await;
    for (at, status) in statuses.iter().enumerate() {
        match status {
            Ok(status) => directory.heard(at, status),
            Err(words) => directory.silent(at, words),
        };
    }
    directory
}

/// Asks one replica of each part of the log: the log tells the others. 1 unless it is done in every partition.
///
/// # Errors
/// Standard output cannot be written.
pub async fn once<'a, F>(
    replicas: &'a [Replica],
    json: bool,
    action: impl Fn(&'a Replica) -> F,
) -> anyhow::Result<ExitCode>
where
    F: Future<Output = Answer>,
{
    let directory = directory(replicas).await;
    let mut left: BTreeSet<PartitionId> = directory.roots().collect();
    let mut answers = Vec::new();
    for (at, replica) in replicas.iter().enumerate() {
        let serves = directory.roots_of(at);
        // Who did not say what it serves says here why.
        if serves.is_empty() || !serves.is_disjoint(&left) {
            let answer = action(replica).await;
            if answer.ok {
                left.retain(|partition| !serves.contains(partition));
            }
            answers.push(answer);
        }
        if left.is_empty() && !directory.roots().is_empty() {
            break;
        }
    }
    answers::print(&answers, json)?;
    let is_done = left.is_empty() && !directory.roots().is_empty();
    if !is_done && answers.iter().all(|answer| answer.ok) {
        eprintln!(
            "rtf: not done in partitions {}: none of these registries serves them",
            ranges(&left)
        );
    }
    Ok(answers::exit_code(is_done))
}
