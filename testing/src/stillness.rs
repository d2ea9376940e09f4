//! Stillness: the longest time in which no row came, watched from a thread while the test does other things.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use crate::{Progress, pause};

const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A look at the rows now and then.
#[derive(Debug)]
pub struct Stillness {
    watching: JoinHandle<Result<Duration>>,
    is_over: Arc<AtomicBool>,
}

impl Stillness {
    /// Begins to watch.
    pub fn watch(mut progress: Progress) -> Result<Self> {
        let is_over = Arc::new(AtomicBool::new(false));
        let end = is_over.clone();
        let thread = thread::Builder::new().name("stillness".into());
        let watching = thread.spawn(move || {
            let mut longest = Duration::ZERO;
            let (mut rows, mut since) = (progress.rows()?, Instant::now());
            while !end.load(Ordering::Relaxed) {
                pause(LOOK_EVERY);
                let now = progress.rows()?;
                longest = longest.max(since.elapsed());
                if now != rows {
                    (rows, since) = (now, Instant::now());
                }
            }
            Ok(longest)
        })?;
        Ok(Self { watching, is_over })
    }

    /// The longest time without a new row, on about [`LOOK_EVERY`].
    pub fn longest(self) -> Result<Duration> {
        self.is_over.store(true, Ordering::Relaxed);
        let longest = self.watching.join();
        longest.map_err(|_| anyhow!("the watching thread panicked"))?
    }
}
