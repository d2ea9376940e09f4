//! A scene: servers, a pipeline on them and a load of clicks. How most end-to-end tests begin, and how they end.

use std::time::Duration;

use anyhow::{Result, ensure};
use rtf_synth::{Clicks, ClicksParams, Join, Tally};

use crate::{Checked, Checker, Instance, Load, Pipeline, PipelineOptions, Progress, Servers};

/// Of the foreign and of the primary topic.
const TOPIC_PARTITIONS: u32 = 4;
const READY_WITHIN: Duration = Duration::from_secs(60);
const DRAINED_WITHIN: Duration = Duration::from_secs(180);
/// A replay may append so few records: one of so many.
const APPENDED_AGAIN: u64 = 100;

/// What a test plays with.
pub struct Scene {
    /// The roles.
    pub pipeline: Pipeline,
    /// How far they are.
    pub progress: Progress,
    /// What they did.
    pub checker: Checker,
    /// What they have to do.
    pub clicks: Clicks,
    /// Kafka and Redis; dropped last.
    pub servers: Servers,
}

impl Scene {
    /// Starts the servers, makes the topics and writes the configuration. No role runs yet.
    pub fn open(options: &PipelineOptions, clicks: ClicksParams) -> Result<Self> {
        let join = options.join;
        let servers = Servers::start()?;
        servers.create_topics(&join, TOPIC_PARTITIONS)?;
        Ok(Self {
            pipeline: servers.pipeline(options)?,
            progress: servers.progress(join)?,
            checker: servers.checker(join),
            clicks: Clicks::new(clicks),
            servers,
        })
    }

    /// Begins to send the clicks.
    pub fn load(&self) -> Result<Load> {
        Load::start(self.checker.settings(), self.join(), self.clicks.events())
    }

    /// Waits until nothing is left to do.
    pub fn drained(&mut self, tally: &Tally) -> Result<()> {
        let progress = &mut self.progress;
        progress.wait_resolved(tally.accepted(), DRAINED_WITHIN)?;
        if let Err(missing) = progress.wait_rows(tally.joins, DRAINED_WITHIN) {
            // Which ones says more than how many.
            self.check()?;
            return Err(missing);
        }
        self.progress.wait_committed(DRAINED_WITHIN)
    }

    /// Checks that what must come of the clicks is there, and nothing else.
    pub fn check(&self) -> Result<Checked> {
        self.checker.check(self.clicks.expected())
    }

    /// The product's own proof must come to the same result.
    pub fn verified(&self, checked: &Checked, tally: &Tally) -> Result<()> {
        let verified = self.pipeline.rtf("verify", &["--json"])?;
        ensure!(verified.code() == 0, "rtf verify: {}", verified.output);
        let report = verified.json()?;
        let numbers = [
            ("foreign_records", tally.foreign_records()),
            ("foreign_events", tally.accepted()),
            ("joined", checked.joined),
            ("unjoinable", checked.unjoinable),
            ("malformed", checked.malformed),
            ("rows", checked.joined),
            ("superseded", checked.superseded),
            ("misplaced", checked.misplaced),
            ("waiting", 0),
            ("unpublished", 0),
            ("lost", 0),
            ("duplicated", 0),
        ];
        for (name, number) in numbers {
            ensure!(
                report[name] == number,
                "rtf verify: {name} should be {number}: {report}"
            );
        }
        Ok(())
    }

    /// The only dispatcher reads the whole foreign topic a second time.
    pub fn read_again(&mut self, dispatcher: Instance) -> Result<()> {
        self.pipeline.stop(dispatcher)?;
        self.servers.rewind(&self.join())?;
        self.pipeline.start_ready(dispatcher, READY_WITHIN)?;
        self.progress.wait_committed(DRAINED_WITHIN)
    }

    /// Everything is [read again](Self::read_again), and nothing changes.
    pub fn replayed(&mut self, dispatcher: Instance) -> Result<Checked> {
        let rows = self.checker.rows()?;
        let resolved = self.progress.resolved()?;
        let logged = self.progress.logged_events()?;
        self.read_again(dispatcher)?;
        let again = self.progress.logged_events()? - logged;
        eprintln!("replayed: {again} records more in the log");
        ensure!(
            self.progress.resolved()? == resolved,
            "the replay resolved more events"
        );
        ensure!(
            again <= logged / APPENDED_AGAIN,
            "the replay appended {again} records, of {logged}"
        );
        let checked = self.check()?;
        ensure!(
            self.checker.rows()? == rows,
            "the replay changed rows in Redis"
        );
        Ok(checked)
    }

    fn join(&self) -> Join {
        *self.checker.join()
    }
}
