//! What a seed stands for: the size of everything, and which faults are switched on (swarm testing: a random part of them).

use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeSet;
use std::fmt;

macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)*) => {
        /// A kind of fault.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub enum Fault {
            $($(#[$doc])* $name,)*
        }

        impl Fault {
            /// All there are.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its name.
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)*
                }
            }
        }
    };
}

faults! {
    /// A process is killed, and started again.
    Kill = "kill",
    /// A process is told to stop, and started again.
    Stop = "stop",
    /// A process does nothing for longer than its session, and goes on as if nothing had been.
    Stall = "stall",
    /// A process is killed together with its machine: what was not synced is lost.
    PowerCut = "power-cut",
    /// A registry is killed and its directory removed.
    Wipe = "wipe",
    /// A registry or a joiner is killed, and something on its disk is torn, or one of its bits is turned over.
    Torn = "torn",
    /// An append is in the log, and its producer does not hear of it.
    LostAck = "lost-ack",
    /// An append failed, and arrives minutes later.
    Ghost = "ghost",
    /// An append was not replicated when its leader died.
    Truncation = "truncation",
    /// An append arrives twice.
    Double = "double",
    /// Offsets are skipped.
    Gap = "gap",
    /// Partitions get new leaders.
    Election = "election",
    /// A leader's clock jumps by up to an hour, forth and back.
    Jump = "jump",
    /// A process gets no answer from Kafka for a while.
    CutOff = "cut-off",
    /// A process that starts, or any other now and then, gets the latest records later than others.
    Lag = "lag",
    /// All producers are fenced.
    Fenced = "fenced",
    /// Groups divide their partitions anew.
    Rebalance = "rebalance",
    /// The groups' positions are lost.
    LostPositions = "lost-positions",
    /// Calls between processes do not arrive.
    LostCall = "lost-call",
    /// Their answers do not.
    LostAnswer = "lost-answer",
    /// Calls and answers take up to seconds.
    Slow = "slow",
    /// Wake-ups do not arrive.
    LostWakeUp = "lost-wake-up",
    /// Redis fails over to a replica that lacks the latest rows.
    RedisForgets = "redis-forgets",
    /// Redis is emptied.
    RedisFlushed = "redis-flushed",
    /// Redis does what it is told, and nobody hears of it; or it refuses.
    RedisSilent = "redis-silent",
    /// An append to Redis arrives seconds after its publisher gave it up.
    RedisLate = "redis-late",
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// How much may be sent at once.
const BURSTS_MS: [u64; 4] = [1, 20, 100, 400];
/// How much is at the least, in a small one.
const SMALL_BURST_MS: u64 = 100;

/// A simulation, before it runs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// What it was drawn from, and what is drawn while it runs.
    pub seed: u64,
    /// Foreign events, without those that are sent twice.
    pub events: u32,
    /// Little of everything, and nothing takes minutes.
    pub is_small: bool,
    /// Partitions of the foreign and of the primary topic.
    pub partitions: u32,
    /// Partitions of the join log.
    pub log_partitions: u32,
    /// Replicas of the registry.
    pub registries: usize,
    /// Joiners.
    pub joiners: usize,
    /// Dispatchers.
    pub dispatchers: usize,
    /// Publishers.
    pub publishers: usize,
    /// All is sent within this.
    pub sending_ms: u64,
    /// What is sent within so long is sent at once, as a producer's batch is.
    pub burst_ms: u64,
    /// Records of a dispatcher's batch.
    pub batch: usize,
    /// The horizon is short: ids are forgotten while it runs.
    pub is_forgetful: bool,
    /// When all is done, the foreign topic is read again from its beginning.
    pub is_read_again: bool,
    /// What goes wrong.
    pub faults: BTreeSet<Fault>,
    /// At the very end a broken record of ours gets into the log.
    pub is_poisoned: bool,
    /// Pipelines that share the work, each with a group of dispatchers of its own.
    pub sites: u32,
    /// Who has a partner waits for more.
    pub collects: bool,
    /// Little may wait at once: reading pauses.
    pub is_narrow: bool,
    /// Events that wait for long are parked in retry topics.
    pub parks: bool,
    /// Joiners keep on disk what memory does not.
    pub keeps: bool,
    /// While it runs operators want the log to have so many times its partitions.
    pub splits: Option<u32>,
    /// When all is done, the foreign topic is deleted and made anew, and more is sent.
    pub is_made_anew: bool,
}

impl Plan {
    /// The plan of a seed.
    pub fn of(seed: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let random = &mut random;
        let is_forgetful = random.random_ratio(1, 4);
        let mut plan = Self {
            seed,
            is_small: false,
            events: random.random_range(500..700),
            partitions: random.random_range(1..=4),
            log_partitions: random.random_range(1..=3),
            registries: random.random_range(1..=3),
            joiners: random.random_range(1..=2),
            dispatchers: random.random_range(1..=3),
            publishers: random.random_range(1..=2),
            sending_ms: random.random_range(3_000..9_000),
            burst_ms: 1,
            batch: random.random_range(2..=16),
            is_forgetful,
            is_read_again: is_forgetful || random.random_ratio(1, 4),
            faults: some_of(random),
            is_poisoned: random.random_ratio(1, 8),
            sites: 1,
            collects: false,
            is_narrow: false,
            parks: false,
            keeps: false,
            splits: None,
            is_made_anew: false,
        };
        if random.random_ratio(1, 4) && plan.dispatchers > 1 {
            plan.sites = 2;
        }
        if random.random_ratio(1, 16) {
            plan.faults = many_of(random);
        }
        plan.collects = random.random_ratio(1, 4);
        plan.is_narrow = random.random_ratio(1, 4);
        plan.is_made_anew = random.random_ratio(1, 6);
        plan.burst_ms = *BURSTS_MS.choose(random).expect("there are some");
        if random.random_ratio(2, 3) {
            plan.make_small(random);
        }
        // What takes much work is rarer where there is little.
        let rarity = if plan.is_small { 2 } else { 1 };
        // A ghost in a retry topic may be older than so short a horizon, which no real one is.
        plan.parks = random.random_ratio(1, 3 * rarity) && !plan.is_forgetful;
        plan.keeps = random.random_ratio(1, 2);
        let times = random.random_range(2..=3);
        plan.splits = random.random_ratio(1, 4 * rarity).then_some(times);
        plan
    }

    /// Most are: as many events and faults, few processes, and no long rests.
    fn make_small(&mut self, random: &mut ChaCha8Rng) {
        self.is_small = true;
        self.events = random.random_range(500..520);
        self.partitions = self.partitions.min(2);
        self.log_partitions = self.log_partitions.min(2);
        self.registries = self.registries.min(2);
        self.joiners = 1;
        self.dispatchers = self.dispatchers.min(2);
        self.publishers = 1;
        self.sending_ms = random.random_range(2_000..4_000);
        self.burst_ms = self.burst_ms.max(SMALL_BURST_MS);
        self.batch = random.random_range(16..=64);
        self.is_read_again &= !self.is_forgetful;
        self.is_forgetful = false;
        self.is_narrow = false;
    }

    /// Whether this goes wrong in it.
    pub fn has(&self, fault: Fault) -> bool {
        self.faults.contains(&fault)
    }
}

fn some_of(random: &mut ChaCha8Rng) -> BTreeSet<Fault> {
    // Now and then none at all: then nothing may take its time either.
    let most = Fault::ALL.len() / 2;
    let count = random.random_range(0..=most);
    Fault::ALL.choose_multiple(random, count).copied().collect()
}

/// A storm: most of them at once, or all.
fn many_of(random: &mut ChaCha8Rng) -> BTreeSet<Fault> {
    let count = random.random_range(Fault::ALL.len() / 2..=Fault::ALL.len());
    Fault::ALL.choose_multiple(random, count).copied().collect()
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults: Vec<_> = self.faults.iter().map(|fault| fault.word()).collect();
        write!(
            f,
            "{} events in {} partitions, log of {}, {} registries, {} joiners, {} dispatchers of {} sites, {} publishers{}{}{}{}{}{}{}{}{}; faults: {}",
            self.events,
            self.partitions,
            self.log_partitions,
            self.registries,
            self.joiners,
            self.dispatchers,
            self.sites,
            self.publishers,
            if self.is_forgetful { ", forgetful" } else { "" },
            if self.is_read_again {
                ", read again"
            } else {
                ""
            },
            if self.is_poisoned { ", poisoned" } else { "" },
            if self.parks { ", parking" } else { "" },
            if self.keeps { ", keeping" } else { "" },
            if self.splits.is_some() { ", split" } else { "" },
            if self.collects { ", collecting" } else { "" },
            if self.is_narrow { ", narrow" } else { "" },
            if self.is_made_anew { ", made anew" } else { "" },
            faults.join(" ")
        )
    }
}
