//! The independent checker: foreign and primary topic × join log × Redis × dead letters, against what an oracle knows. It believes none of the roles and
//! shares no code with `rtf verify`: winners are found anew from the log's raw records, rows are compared byte for byte with
//! what was sent, and everything is compared as multisets.

mod letters;
mod log;
mod problems;
mod reigns;
mod rows;
mod sent;

use std::collections::{BTreeMap, HashMap};

use anyhow::Result;
use rtf_kafka::Settings;
use rtf_synth::Join;

use crate::fate::Fate;
use crate::reader::kafka_settings;
use log::Winners;
use problems::Problems;
use sent::Sent;

pub use rows::{Rows, RowsByStream};

/// The key of records that a test puts into our topics and that none of us may take for ours; the checker passes them over too.
pub const POISON_KEY: &[u8] = b"rtf-testing: poison";

/// Where to look, and for which join.
#[derive(Clone, Debug)]
pub struct Checker {
    settings: Settings,
    redis: String,
    join: Join,
    has_letters: bool,
    emits: bool,
    folds: bool,
}

/// What is there, after all of it was found right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Events joined, each with one row in Redis.
    pub joined: u64,
    /// Events given up.
    pub unjoinable: u64,
    /// Records that could not be read.
    pub malformed: u64,
    /// Records of the log that came after the first of their id, and changed nothing.
    pub superseded: u64,
    /// Records of the log that did not count because their partition was split, or not born: they were written again elsewhere.
    pub misplaced: u64,
}

impl Checker {
    /// `redis` is Redis's URL.
    pub fn new(bootstrap: &str, redis: &str, join: Join) -> Self {
        Self {
            settings: kafka_settings(bootstrap),
            redis: redis.into(),
            join,
            has_letters: true,
            emits: false,
            folds: false,
        }
    }

    /// Nobody carries dead letters here.
    #[must_use]
    pub fn without_letters(self) -> Self {
        Self {
            has_letters: false,
            ..self
        }
    }

    /// Events that were given up have rows in Redis too: a left join.
    #[must_use]
    pub fn emitting(self) -> Self {
        let emits = true;
        Self { emits, ..self }
    }

    /// White space around keys and their case are ignored; what is expected has them folded.
    #[must_use]
    pub fn folding(self) -> Self {
        let folds = true;
        Self { folds, ..self }
    }

    /// Checks that what is there is what must be there: each event once in the log with the right outcome and the
    /// right partner, each joined row once in Redis, each other one once among the dead letters, in order, and nothing else. For a pipeline at
    /// rest; the last dead letters may still be on their way.
    ///
    /// # Errors
    /// The first few of each sort of what is wrong, or something cannot be read.
    pub fn check<F: Into<Fate>>(&self, expected: impl IntoIterator<Item = F>) -> Result<Checked> {
        let mut problems = Problems::default();
        let sent = Sent::read(&self.settings, &self.join, self.folds)?;
        let mut winners = Winners::read(&self.settings, &self.join, &sent, &mut problems)?;
        if self.emits {
            winners.emit_unjoinable();
        }
        compare(
            expected.into_iter().map(Into::into),
            &winners,
            &mut problems,
        );
        self.rows()?.check(&self.join, &winners, &mut problems)?;
        if self.has_letters {
            letters::check(&self.settings, &self.join, &sent, &winners, &mut problems)?;
        }
        problems.into_result()?;
        Ok(winners.counts)
    }

    /// All rows that Redis holds.
    pub fn rows(&self) -> Result<Rows> {
        Rows::read(&self.redis, self.join.name)
    }

    /// Connection settings for Kafka.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The join looked at.
    pub fn join(&self) -> &Join {
        &self.join
    }
}

/// Compares two multisets of fates.
fn compare(expected: impl Iterator<Item = Fate>, winners: &Winners, problems: &mut Problems) {
    let mut balance: HashMap<Fate, i64> = HashMap::new();
    let mut any_partner = false;
    for fate in expected {
        any_partner |= matches!(fate, Fate::Joined { primary: None, .. });
        *balance.entry(fate).or_default() += 1;
    }
    for fate in &winners.fates {
        *balance
            .entry(without_partner(fate, any_partner))
            .or_default() -= 1;
    }
    // Sorted, so that a failure reads the same each time.
    let wrong: BTreeMap<_, _> = balance.into_iter().filter(|(_, n)| *n != 0).collect();
    for (fate, count) in wrong {
        match count {
            1.. => problems.add("missing in the log", || format!("{count} × {fate}")),
            _ => problems.add("not expected in the log", || format!("{} × {fate}", -count)),
        }
    }
}

/// Where the policy chooses, the oracle does not say whom.
fn without_partner(fate: &Fate, any_partner: bool) -> Fate {
    match fate.clone() {
        Fate::Joined { id, key, .. } if any_partner => Fate::Joined {
            id,
            key,
            primary: None,
        },
        fate => fate,
    }
}
