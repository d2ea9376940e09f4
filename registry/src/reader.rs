//! One reader of a partition's accepted records: from memory while it keeps up, from Kafka while it does not.

use crate::catch_up::CatchUp;
use crate::handle::Shared;
use crate::lanes::Lane;
use crate::recent::Read;
use futures::stream::{self, StreamExt};
use rtf_proto::{AcceptedBatch, AcceptedStream, Offset, Outcomes, RegistryError};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Batches a catch-up may be ahead of its reader.
const CATCH_UP_BATCHES: usize = 4;
/// While there is nothing for it, a reader hears so often how far that is true.
const TOLD_EVERY: Duration = Duration::from_millis(100);

pub struct Reader {
    shared: Arc<Shared>,
    lane: Arc<Lane>,
    outcomes: Outcomes,
    /// Everything wanted below it was handed out.
    cursor: Offset,
    /// The cursor it was told last, and when.
    told: (Offset, Instant),
    catching_up: Option<mpsc::Receiver<Result<AcceptedBatch, RegistryError>>>,
    ended: bool,
}

impl Reader {
    /// A reader at an offset.
    pub fn new(shared: Arc<Shared>, lane: Arc<Lane>, from: Offset, outcomes: Outcomes) -> Self {
        Self {
            shared,
            lane,
            outcomes,
            cursor: from,
            told: (from, Instant::now()),
            catching_up: None,
            ended: false,
        }
    }

    /// What it reads, for ever.
    pub fn stream(self) -> AcceptedStream {
        stream::unfold(self, Self::step).boxed()
    }

    async fn step(mut self) -> Option<(Result<AcceptedBatch, RegistryError>, Self)> {
        if self.ended {
            return None;
        }
        let item = self.next().await;
        match &item {
            Ok(batch) => {
                self.cursor = batch.next;
                self.told = (batch.next, Instant::now());
            }
            Err(_) => self.ended = true,
        }
        Some((item, self))
    }

    async fn next(&mut self) -> Result<AcceptedBatch, RegistryError> {
        let mut changed = self.lane.recent.watch();
        loop {
            if let Some(batches) = &mut self.catching_up {
                match batches.recv().await {
                    Some(batch) => return batch,
                    None => self.catching_up = None,
                }
            }
            changed.mark_unchanged();
            let batch = match self.lane.recent.read(self.cursor, self.outcomes) {
                Read::Batch(batch) => batch,
                Read::Behind(_) => {
                    self.catch_up().await?;
                    continue;
                }
                Read::Nothing => AcceptedBatch {
                    records: Vec::new(),
                    next: self.cursor,
                },
            };
            self.cursor = batch.next;
            let (told, told_at) = self.told;
            let (is_owed, tell_at) = (told < self.cursor, told_at + TOLD_EVERY);
            if !batch.records.is_empty() || (is_owed && Instant::now() >= tell_at) {
                return Ok(batch);
            }
            let stopped = |_| RegistryError::Unavailable("the replica stopped".into());
            let mut cut_off = self.shared.cut_off.subscribe();
            tokio::select! {
                biased;
                more = changed.changed() => more.map_err(stopped)?,
                // A reader that waits for news finds them with another replica.
                _ = cut_off.wait_for(|is_cut_off| *is_cut_off) => self.shared.is_connected()?,
                () = tokio::time::sleep_until(tell_at), if is_owed => {}
            }
        }
    }

    async fn catch_up(&mut self) -> Result<(), RegistryError> {
        let permit = self.shared.catch_ups.clone().acquire_owned().await;
        let permit =
            permit.map_err(|_| RegistryError::Unavailable("the replica stopped".into()))?;
        let (batches, receiver) = mpsc::channel(CATCH_UP_BATCHES);
        self.catching_up = Some(receiver);
        let from = self.cursor;
        let catch_up = CatchUp {
            shared: self.shared.clone(),
            lane: self.lane.clone(),
            outcomes: self.outcomes,
            batches,
        };
        #[cfg(feature = "simulation")]
        if self.shared.settings.is_simulated() {
            tokio::spawn(async move {
                catch_up.run_simulated(from).await;
                drop(permit);
            });
            return Ok(());
        }
        tokio::task::spawn_blocking(move || {
            catch_up.run(from);
            drop(permit);
        });
        Ok(())
    }
}
