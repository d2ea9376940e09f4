//! Leaders: asks Kafka again and again who leads its partitions and which copies its appends wait for, so that it is known how long Kafka itself takes to do
//! without a broker. It must not know what is done to whom.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Result;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rtf_testing::pause;

/// Between two questions.
const EVERY: Duration = Duration::from_millis(150);
/// The broker that happens to be asked may be away.
const ANSWER_WITHIN: Duration = Duration::from_millis(400);
/// Each asks whom it likes: one of them somebody who answers.
const CLIENTS: usize = 3;
/// Who leads a partition that nobody leads.
const NOBODY: i32 = -1;

/// Who leads anything, or is waited for by who does.
struct Look {
    asked: Instant,
    answered: Instant,
    needed: BTreeSet<i32>,
}

/// What is seen, and the threads that see it.
pub(crate) struct Leaders {
    looks: Arc<Mutex<Vec<Look>>>,
    is_over: Arc<AtomicBool>,
    asking: Vec<JoinHandle<()>>,
}

impl Leaders {
    /// Begins to ask.
    pub(crate) fn watch(bootstrap: &str) -> Result<Self> {
        let looks = Arc::new(Mutex::new(Vec::new()));
        let is_over = Arc::new(AtomicBool::new(false));
        let ask = |_| {
            let client: BaseConsumer = ClientConfig::new()
                .set("bootstrap.servers", bootstrap)
                .create()?;
            let (seen, end) = (looks.clone(), is_over.clone());
            let asking = thread::Builder::new().name("leaders".into());
            Ok(asking.spawn(move || {
                while !end.load(Ordering::Relaxed) {
                    // No answer is no look.
                    let seen_now = look(&client);
                    lock(&seen).extend(seen_now);
                    pause(EVERY);
                }
            })?)
        };
        let asking = (0..CLIENTS).map(ask).collect::<Result<_>>()?;
        Ok(Self {
            looks,
            is_over,
            asking,
        })
    }

    /// How long after `since` no partition needed this broker any more; none if that was never so.
    pub(crate) fn moved_from(&self, broker: i32, since: Instant) -> Option<Duration> {
        let looks = lock(&self.looks);
        let later = looks.iter().filter(|look| look.asked >= since);
        let moved =
            later.filter(|look| !look.needed.contains(&broker) && !look.needed.contains(&NOBODY));
        Some(moved.map(|look| look.answered).min()? - since)
    }
}

impl Drop for Leaders {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        for asking in self.asking.drain(..) {
            // It only asks: what it died of is of no interest any more.
            let _ = asking.join();
        }
    }
}

fn lock(looks: &Mutex<Vec<Look>>) -> MutexGuard<'_, Vec<Look>> {
    looks.lock().expect("nobody panics while looking")
}

fn look(client: &BaseConsumer) -> Option<Look> {
    let asked = Instant::now();
    let metadata = client.fetch_metadata(None, ANSWER_WITHIN).ok()?;
    let partitions = metadata
        .topics()
        .iter()
        .flat_map(|topic| topic.partitions());
    let needed = partitions.flat_map(|partition| {
        let in_sync = partition.isr().iter().copied();
        in_sync.chain([partition.leader()])
    });
    Some(Look {
        asked,
        answered: Instant::now(),
        needed: needed.collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_is_done_without_when_nothing_needs_it() {
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        let look = |ms, needed: &[i32]| Look {
            asked: at(ms),
            answered: at(ms + 5),
            needed: needed.iter().copied().collect(),
        };
        let looks = vec![
            look(0, &[1, 2]),
            look(100, &[0, 1, 2]),
            look(200, &[NOBODY, 1, 2]),
            look(300, &[1, 2]),
        ];
        let leaders = Leaders {
            looks: Arc::new(Mutex::new(looks)),
            is_over: Arc::default(),
            asking: Vec::new(),
        };
        let ms = |ms| Some(Duration::from_millis(ms));
        assert_eq!(leaders.moved_from(0, begun), ms(5));
        assert_eq!(leaders.moved_from(0, at(50)), ms(255));
        assert_eq!(leaders.moved_from(1, begun), None);
        assert_eq!(leaders.moved_from(0, at(301)), None);
    }
}
