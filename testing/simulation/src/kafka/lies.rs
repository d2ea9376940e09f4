//! What becomes of an append, and of what its producer is told. Knows no topic.

use rand::Rng;

/// A producer hears within this that an append's fate is unknown.
const TIMED_OUT_MS: u64 = 8_000;
/// A ghost arrives within this, or it takes minutes.
const SOON_MS: u64 = 16_000;
const MINUTES_MS: u64 = 180_000;

/// How often which lie is told, of a thousand appends each.
#[derive(Clone, Copy, Default, Debug)]
pub struct Lies {
    /// It is in the log; the acknowledgement is not heard.
    pub lost_acks: u32,
    /// It is told to have failed, and arrives later.
    pub ghosts: u32,
    /// Half of the ghosts arrive minutes later.
    pub are_old: bool,
    /// A leader takes it along when it dies: it was not replicated.
    pub truncated: u32,
    /// It arrives twice.
    pub doubled: u32,
    /// Offsets are skipped before it.
    pub gaps: u32,
}

/// What becomes of an append.
#[derive(Clone, Copy, Debug)]
pub struct Fate {
    /// When it stands in the log, if ever.
    pub arrives_ms: Option<u64>,
    /// When once more.
    pub again_ms: Option<u64>,
    /// When its producer is told something.
    pub told_ms: u64,
    /// What it is told: that it was taken, else that nobody knows.
    pub is_delivered: bool,
}

impl Lies {
    /// The truth.
    pub fn none() -> Self {
        Self::default()
    }

    /// The fate of an append that gets to a broker.
    pub fn fate(&self, random: &mut impl Rng) -> Fate {
        let arrives_ms = random.random_range(1..4);
        let timed_out = random.random_range(500..TIMED_OUT_MS);
        let good = Fate {
            arrives_ms: Some(arrives_ms),
            again_ms: None,
            told_ms: arrives_ms + random.random_range(0..3),
            is_delivered: true,
        };
        let unknown = Fate {
            told_ms: timed_out,
            is_delivered: false,
            ..good
        };
        let mut dice = random.random_range(0..1000);
        let mut is = |share: u32| {
            let hit = dice < share;
            dice = dice.saturating_sub(share);
            if hit {
                dice = u32::MAX;
            }
            hit
        };
        if is(self.lost_acks) {
            return unknown;
        }
        if is(self.ghosts) {
            let is_old = self.are_old && random.random();
            let longest = if is_old { MINUTES_MS } else { SOON_MS };
            return Fate {
                arrives_ms: Some(timed_out + random.random_range(0..longest)),
                ..unknown
            };
        }
        if is(self.truncated) {
            return Fate {
                arrives_ms: None,
                ..unknown
            };
        }
        if is(self.doubled) {
            return Fate {
                again_ms: Some(arrives_ms + random.random_range(0..TIMED_OUT_MS)),
                ..good
            };
        }
        good
    }

    /// The fate of an append whose producer reaches nobody: it goes when that is over, or never.
    pub fn out_of_reach(&self, random: &mut impl Rng) -> Fate {
        let timed_out = random.random_range(500..TIMED_OUT_MS);
        Fate {
            arrives_ms: random.random::<bool>().then_some(timed_out + 1),
            again_ms: None,
            told_ms: timed_out,
            is_delivered: false,
        }
    }

    /// Offsets skipped before an append.
    pub fn gap(&self, random: &mut impl Rng) -> u64 {
        match self.gaps > 0 && random.random_range(0..1000) < self.gaps {
            true => random.random_range(1..5),
            false => 0,
        }
    }
}
