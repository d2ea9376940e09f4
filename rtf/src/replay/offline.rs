//! While no dispatcher runs, the group's committed positions say from where the next one reads.

use super::Scene;
use anyhow::Context;
use rtf_proto::{Offset, PartitionId};

/// What stands against it; none when the group has no members.
pub fn active(scene: &Scene) -> anyhow::Result<Option<String>> {
    let state = scene.positions.group()?;
    if !state.is_active() {
        return Ok(None);
    }
    Ok(Some(format!(
        "group `{}` is {}, with {} members: a running dispatcher goes by its own positions. Stop the dispatchers (one that was killed, or a static member, is \
         missed when [dispatcher].session_timeout is over), or have the running ones do it with --running",
        scene.group,
        state.state,
        state.members.len()
    )))
}

/// Sets the positions.
///
/// # Errors
/// The group has members, or Kafka does not answer.
pub fn execute(scene: &Scene, changes: &[(PartitionId, Offset)]) -> anyhow::Result<()> {
    if let Some(words) = active(scene)? {
        anyhow::bail!("nothing is changed: {words}");
    }
    if changes.is_empty() {
        return Ok(());
    }
    // The broker compares once more: it takes positions from outside only while the group has no members.
    let set = scene.positions.set(changes);
    set.with_context(|| {
        format!(
            "the positions of group `{}` were not taken; did a dispatcher start meanwhile?",
            scene.group
        )
    })
}
