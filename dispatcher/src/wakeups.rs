//! Listens to the joiner's wake-ups, for ever.

use crate::engine::Engine;
use crate::health::{Health, Part};
use crate::woken::Keys;
use crate::{Backoff, Event};
use futures::StreamExt;
use rtf_proto::Joiner;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const BACKOFF: Backoff = Backoff {
    first: Duration::from_millis(50),
    max: Duration::from_secs(2),
};
/// A subscription that lasted so long was a good one.
const GOOD: Duration = Duration::from_secs(5);

/// Subscribes, again and again. What is missed in between is made good by the retry.
pub(crate) async fn listen(
    engine: &Arc<Engine>,
    joiner: &dyn Joiner,
    health: &Health,
    parked: &[Keys],
    listened: &AtomicU64,
) -> Infallible {
    let mut in_vain = 0;
    loop {
        let begun = Instant::now();
        match joiner.wakeups().await {
            Ok(mut keys) => {
                health.well(Part::Wakeups);
                listened.fetch_add(1, Ordering::Relaxed);
                while let Some(keys) = keys.next().await {
                    let keys = Arc::new(keys);
                    for waker in parked {
                        // One that is too far behind misses some.
                        let _ = waker.try_send(Arc::clone(&keys));
                    }
                    engine.on(Event::Woken(keys));
                }
            }
            Err(error) => health.trouble(Part::Wakeups, format!("no wake-ups: {error}")),
        }
        in_vain = if begun.elapsed() >= GOOD {
            1
        } else {
            in_vain + 1
        };
        tokio::time::sleep(BACKOFF.delay(in_vain, 0)).await;
    }
}
