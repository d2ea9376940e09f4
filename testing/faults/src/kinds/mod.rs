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
