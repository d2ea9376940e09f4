//! Operators who want the log to have more partitions. Each asks one replica after the other until one says that it is so: calls are given up, replicas die.

use crate::trace::trace;
use crate::world::{World, world};
use rand::Rng;
use std::time::Duration;

/// They want it at the same time, or nearly.
const OPERATORS: usize = 2;
/// A call is given up after this.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(5);
/// Until the next one.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Begins to want what the plan has.
pub fn begin(world: &World) {
    let Some(partitions) = world.wanted_partitions() else {
        return;
    };
    for operator in 0..OPERATORS {
        let after_ms = world.random(|random| random.random_range(0..world.plan.sending_ms));
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(after_ms)).await;
            insist(operator, partitions).await;
        });
    }
}

async fn insist(operator: usize, partitions: u32) {
    for turn in operator.. {
        let Some(callee) = world().map(|world| world.registry(turn)) else {
            return;
        };
        if let Some(callee) = callee {
            let asked = callee.handle.split(partitions);
            let answer = tokio::time::timeout(GIVEN_UP_AFTER, asked).await;
            trace!("operator {operator} wants {partitions} partitions: {answer:?}");
            if matches!(answer, Ok(Ok(_))) {
                return;
            }
        }
        tokio::time::sleep(AGAIN_AFTER).await;
    }
}
