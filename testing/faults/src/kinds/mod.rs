//! Kinds: all there are, a family in each file.

mod broker;
pub(crate) mod clock;
pub(crate) mod disk;
mod network;
mod poison;
mod process;
mod redis;

use crate::kind::Kind;

/// All of them.
pub(crate) fn all() -> impl Iterator<Item = &'static Kind> {
    let families = [
        process::KINDS,
        redis::KINDS,
        broker::KINDS,
        network::KINDS,
        disk::KINDS,
        poison::KINDS,
        clock::KINDS,
    ];
    families.into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const FAILURE_MODES: &str = include_str!("../../../../docs/failure-modes.md");

    #[test]
    fn each_kind_has_its_own_name_and_is_documented() {
        let names: Vec<&str> = all().map(|kind| kind.name).collect();
        let different: BTreeSet<&str> = names.iter().copied().collect();
        assert_eq!(different.len(), names.len());
        // The first column of the tables; the last one is of alerts.
        let faults = FAILURE_MODES
            .split("## By alert")
            .next()
            .unwrap_or_default();
        let rows = faults.lines().filter(|line| line.starts_with("| `"));
        let cells = rows.filter_map(|row| row.split('|').nth(1));
        let documented: BTreeSet<&str> = cells
            .flat_map(|cell| cell.split('`').skip(1).step_by(2))
            .collect();
        assert_eq!(documented, different);
    }
}
