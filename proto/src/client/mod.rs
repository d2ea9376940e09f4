//! The ports over gRPC: clients with deadlines, keep-alive and fail-over of our own.
//!
//! One channel per endpoint. A call goes to the endpoint that answered last; when that one is
//! unavailable the next is tried, once around. Never two at the same time: a token makes the
//! repetition of a `Register` harmless, and nothing is hedged.
//!
//! Registries may serve a part of the log each. Then a call goes to those who serve what it is about, and a batch is
//! cut by who serves its ids. Joiners may hold a part of the primary topic each: a batch is cut by who holds its keys.

mod directory;
mod endpoints;
pub mod failure;
mod holders;
mod joiner;
mod joiners;
mod registries;
mod registry;

pub use directory::{Directory, Group, ranges};

pub use endpoints::{BadEndpoint, Endpoints};
pub use joiner::JoinerClient;
pub use registry::RegistryClient;

use std::time::Duration;

/// How long one call may take before its outcome counts as unknown.
pub const CALL_DEADLINE: Duration = Duration::from_secs(15);
/// Largest number of items in one call.
pub const MAX_ITEMS: usize = 500;
/// Bytes of rows in one call, about; one item may be larger.
pub const MAX_CALL_BYTES: usize = 900 * 1024;
/// gRPC's limit per message: one call's bytes, or one row as large as the log allows.
pub const MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;

/// Cuts a batch into calls of at most [`MAX_ITEMS`] items and about [`MAX_CALL_BYTES`].
fn calls<T>(items: Vec<T>, bytes: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
    let mut calls: Vec<Vec<T>> = Vec::new();
    let mut size = 0;
    for item in items {
        let cost = bytes(&item);
        match calls.last_mut() {
            Some(call) if call.len() < MAX_ITEMS && size + cost <= MAX_CALL_BYTES => {
                size += cost;
                call.push(item);
            }
            _ => {
                size = cost;
                calls.push(vec![item]);
            }
        }
    }
    calls
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_cut_by_number_and_size() {
        let lengths = |items: Vec<usize>| {
            calls(items, |n| *n)
                .iter()
                .map(Vec::len)
                .collect::<Vec<_>>()
        };
        assert_eq!(lengths(vec![]), Vec::<usize>::new());
        assert_eq!(lengths(vec![1; 1001]), [500, 500, 1]);
        assert_eq!(
            lengths(vec![MAX_CALL_BYTES * 2, 1, MAX_CALL_BYTES, 1]),
            [1, 1, 1, 1]
        );
        assert_eq!(lengths(vec![MAX_CALL_BYTES / 2; 4]), [2, 2]);
    }
}
