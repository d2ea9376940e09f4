//! Waits until the dispatchers have come past where they were, and says what they found on the way.

use super::args::ReplayArgs;
use super::report::{Caught, Report};
use super::{Scene, blocking};
use crate::dispatcher::dispatchers;
use crate::progress::Progress;
use crate::registry::replica::{Replica, within};
use futures::future::join_all;
use rtf_config::Config;
use rtf_proto::{PartitionId, pb};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Between two looks at the committed positions, which move once a second.
const LOOK_EVERY: Duration = Duration::from_millis(200);
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// All dispatchers' counts together; none unless all of them answer.
pub async fn tally(dispatchers: &[Replica]) -> Option<pb::DispatcherTally> {
    let ask = |dispatcher: &Replica| {
        let mut admin = dispatcher.admin();
        async move { within(ANSWER_WITHIN, admin.status(pb::StatusRequest {})).await }
    };
    let mut sum = pb::DispatcherTally::default();
    for answer in join_all(dispatchers.iter().map(ask)).await {
        let tally = answer.ok()?.dispatcher?.tally?;
        sum.joined += tally.joined;
        sum.unjoinable += tally.unjoinable;
        sum.malformed += tally.malformed;
        sum.already_resolved += tally.already_resolved;
        sum.too_old += tally.too_old;
    }
    Some(sum)
}

/// Waits, for as long as it takes.
///
/// # Errors
/// Kafka does not answer.
pub async fn until_caught_up(
    config: &Config,
    args: &ReplayArgs,
    scene: Arc<Scene>,
    report: &mut Report,
) -> anyhow::Result<()> {
    let goals = report.goals();
    let total = report.plan.records();
    let progress = if args.json {
        Progress::hidden()
    } else {
        Progress::new("replaying", Some(total))
    };
    let (begun, mut shown) = (Instant::now(), 0);
    loop {
        let left = behind(&scene, &goals).await?;
        let done = total.saturating_sub(left);
        progress.add(done.saturating_sub(shown));
        shown = shown.max(done);
        if left == 0 {
            break;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    progress.finish();
    let after = tally(&dispatchers(config, &args.endpoint)?).await;
    report.caught = Some(Caught {
        seconds: begun.elapsed().as_secs_f64(),
        tally: after.zip(report.tally_before).and_then(minus),
    });
    Ok(())
}

/// How far the group is from where it was, all partitions together.
async fn behind(scene: &Arc<Scene>, goals: &BTreeMap<PartitionId, u64>) -> anyhow::Result<u64> {
    let (scene, goals) = (scene.clone(), goals.clone());
    blocking(move || {
        let partitions: Vec<PartitionId> = goals.keys().copied().collect();
        if partitions.is_empty() {
            return Ok(0);
        }
        let committed = scene.positions.committed(&partitions)?;
        let committed: BTreeMap<_, _> = committed.into_iter().collect();
        let left = goals.iter().map(|(partition, goal)| {
            goal.saturating_sub(committed.get(partition).copied().unwrap_or_default())
        });
        Ok(left.sum())
    })
    .await
}

/// What was counted in between; none when one of them was started anew.
fn minus(
    (after, before): (pb::DispatcherTally, pb::DispatcherTally),
) -> Option<pb::DispatcherTally> {
    Some(pb::DispatcherTally {
        joined: after.joined.checked_sub(before.joined)?,
        unjoinable: after.unjoinable.checked_sub(before.unjoinable)?,
        malformed: after.malformed.checked_sub(before.malformed)?,
        already_resolved: after
            .already_resolved
            .checked_sub(before.already_resolved)?,
        too_old: after.too_old.checked_sub(before.too_old)?,
        ..pb::DispatcherTally::default()
    })
}
