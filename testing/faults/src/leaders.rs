//! Leaders: asks Kafka again and again who leads its partitions, so that it is known how long Kafka itself takes to find new ones. It must not know what is
//! done to whom.

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
/// The broker that happens to be asked may be away: then another one is.
const ANSWER_WITHIN: Duration = Duration::from_millis(400);
/// Who leads a partition that nobody leads.
const NOBODY: i32 = -1;

/// Who led anything.
struct Look {
    asked: Instant,
    answered: Instant,
    leaders: BTreeSet<i32>,
}

/// What is seen, and the thread that sees it.
pub(crate) struct Leaders {
    looks: Arc<Mutex<Vec<Look>>>,
    is_over: Arc<AtomicBool>,
    asking: Option<JoinHandle<()>>,
}

impl Leaders {
    /// Begins to ask.
    pub(crate) fn watch(bootstrap: &str) -> Result<Self> {
        let client: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .create()?;
        let looks = Arc::new(Mutex::new(Vec::new()));
        let is_over = Arc::new(AtomicBool::new(false));
        let (seen, end) = (looks.clone(), is_over.clone());
        let asking = thread::Builder::new()
            .name("leaders".into())
            .spawn(move || {
                while !end.load(Ordering::Relaxed) {
                    // No answer is no look.
                    lock(&seen).extend(look(&client));
                    pause(EVERY);
                }
            })?;
        Ok(Self {
            looks,
            is_over,
            asking: Some(asking),
        })
    }

    /// How long after `since` each partition had another leader than this broker; none if that was never so.
    pub(crate) fn moved_from(&self, broker: i32, since: Instant) -> Option<Duration> {
        let looks = lock(&self.looks);
        let mut later = looks.iter().filter(|look| look.asked >= since);
        let moved =
            later.find(|look| [broker, NOBODY].iter().all(|b| !look.leaders.contains(b)))?;
        Some(moved.answered - since)
    }
}

impl Drop for Leaders {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(asking) = self.asking.take() {
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
    Some(Look {
        asked,
        answered: Instant::now(),
        leaders: partitions.map(|partition| partition.leader()).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_is_done_when_others_lead_everything() {
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        let look = |ms, leaders: &[i32]| Look {
            asked: at(ms),
            answered: at(ms + 5),
            leaders: leaders.iter().copied().collect(),
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
            asking: None,
        };
        let ms = |ms| Some(Duration::from_millis(ms));
        assert_eq!(leaders.moved_from(0, begun), ms(5));
        assert_eq!(leaders.moved_from(0, at(50)), ms(255));
        assert_eq!(leaders.moved_from(1, begun), None);
        assert_eq!(leaders.moved_from(0, at(301)), None);
    }
}
