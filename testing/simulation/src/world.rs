//! One simulated world: Kafka, Redis, disks, the network, the processes on them, and what is known to be true of it all.

use crate::check::commits::{self, Commits};
use crate::check::poison::Poison;
use crate::check::{Violation, liveness, outcomes, partners, poison, replicas, rows, verdicts};
use crate::faults;
use crate::kafka::Cluster;
use crate::ledger::Ledger;
use crate::machine;
use crate::network::Callee;
use crate::operators;
use crate::plan::{Fault, Plan};
use crate::process::{Process, Role};
use crate::redis::Redis;
use crate::retries::Retries;
use crate::trace::trace;
use crate::workload::{AllSent, FOREIGN, PRIMARY, Sending, original, workload, workload_anew};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rtf_joiner::JoinerHandle;
use rtf_kafka::simulated::{self, SimulatedKafka, SimulatedRecord};
use rtf_proto::{
    ForeignEvent, JoinVerdict, Known, LookupItem, Offset, PartitionId, Registration, Registry,
    Verdict,
};
use rtf_registry::RegistryHandle;
use rtf_registry::simulated::Disk;
use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

/// The join log.
pub const LOG: &str = "simulated.joins";
/// The dispatchers' groups, one for each site.
pub const GROUPS: [&str; 2] = ["simulated.dispatchers", "simulated.dispatchers.other"];
/// How long an event waits for a partner.
pub const WAIT_MAX: Duration = Duration::from_secs(25);
/// Events of a partition that are pending at the most, where there is room for few.
pub const NARROW_WINDOW: usize = 40;
/// Faults go on for so long after the last record was sent, ms.
const FAULTY_MS: u64 = 5_000;
/// When they are healed the backlog drains within this, ms: an event that was read last waits its time, and who lost its turn waits for its next one.
const DRAINED_WITHIN_MS: u64 = 60_000;
/// Between two looks whether all is done, ms.
const LOOK_MS: u64 = 500;
/// So long nothing happens before the last look, ms.
const REST_MS: u64 = 3_000;
/// Within this every replica has met a broken record, ms.
const POISON_MS: u64 = 6_000;
/// A topic made anew is empty for so long, ms: whoever reads it meets its end in the meantime. (What is not simulated is one that is longer than its predecessor
/// before anybody looks.)
const UNNOTICED_MS: u64 = 6_000;
/// Between two records that are sent into it, ms.
const ANEW_EVERY_MS: u64 = 20;
/// Long enough for all that is remembered in a forgetful plan to be forgotten, ms.
const FORGOTTEN_MS: u64 = 90_000;

/// A world.
pub struct World {
    /// What is to happen.
    pub plan: Plan,
    /// Kafka.
    pub kafka: Rc<Cluster>,
    /// Redis.
    pub redis: RefCell<Redis>,
    /// What lies below the registries' buckets.
    pub disk: Disk,
    /// Where their other files are.
    pub folder: PathBuf,
    /// Who won.
    pub ledger: RefCell<Ledger>,
    /// What was sent.
    pub sent: RefCell<AllSent>,
    /// The processes.
    pub processes: RefCell<Vec<Process>>,
    /// Where a broken record stands in the log, and which processes stopped in front of it.
    pub poison: RefCell<Option<Poison>>,
    /// What is parked.
    pub retries: RefCell<Retries>,
    commits: RefCell<Commits>,
    random: RefCell<ChaCha8Rng>,
    healed: Cell<bool>,
    violation: RefCell<Option<Violation>>,
}

thread_local! {
    static WORLD: RefCell<Option<Rc<World>>> = const { RefCell::new(None) };
}

/// The world of this thread, while there is one.
pub fn world() -> Option<Rc<World>> {
    WORLD.with(|world| world.borrow().clone())
}

/// Runs a plan to its end, on a machine that is switched on; what was violated, if anything.
pub async fn run(plan: &Plan, folder: &Path) -> Option<Violation> {
    let world = Rc::new(World::new(plan.clone(), folder));
    WORLD.with(|here| *here.borrow_mut() = Some(world.clone()));
    simulated::set(Some(world.kafka.clone()));
    world.disk.use_here();
    let checked = tokio::select! {
        biased;
        checked = world.live() => checked,
        never = world.kafka.work() => never,
    };
    if let Err(violation) = checked {
        world.violation.borrow_mut().get_or_insert(violation);
    }
    for process in world.processes.borrow().iter() {
        if let Some(life) = &process.life {
            life.kill();
        }
    }
    WORLD.with(|here| here.borrow_mut().take());
    simulated::set(None);
    world.violation.take()
}

/// The groups' coordinator looks now and then who is still there.
async fn coordinate() {
    loop {
        tokio::time::sleep(Duration::from_millis(LOOK_MS)).await;
        match world() {
            Some(world) => world.kafka.expire(),
            None => return,
        }
    }
}

impl World {
    fn new(plan: Plan, folder: &Path) -> Self {
        let kafka = Rc::new(Cluster::new(plan.seed, faults::lies(&plan)));
        kafka.create(FOREIGN, plan.partitions);
        kafka.create(PRIMARY, plan.partitions);
        let log = kafka.create(LOG, plan.log_partitions).id;
        let many = |role, count| (0..count).map(move |number| Process::new(role, number));
        let processes = many(Role::Registry, plan.registries)
            .chain(many(Role::Joiner, plan.joiners))
            .chain(many(Role::Dispatcher, plan.dispatchers))
            .chain(many(Role::Publisher, plan.publishers));
        Self {
            processes: RefCell::new(processes.collect()),
            kafka,
            redis: RefCell::default(),
            disk: Disk::default(),
            folder: folder.into(),
            ledger: RefCell::new(Ledger::new(log, plan.log_partitions)),
            sent: RefCell::default(),
            poison: RefCell::default(),
            retries: RefCell::default(),
            commits: RefCell::default(),
            random: RefCell::new(ChaCha8Rng::seed_from_u64(plan.seed ^ 0x0077_6F72_6C64)),
            healed: Cell::new(false),
            violation: RefCell::default(),
            plan,
        }
    }

    async fn live(self: &Rc<Self>) -> Result<(), Violation> {
        let processes = self.processes.borrow().len();
        (0..processes).for_each(|number| self.start(number));
        tokio::spawn(coordinate());
        faults::begin(&self.plan);
        operators::begin(self);
        for sending in workload(&self.plan) {
            let wait = sending.at_ms.saturating_sub(machine::now_ms());
            if wait > 0 {
                tokio::time::sleep(Duration::from_millis(wait)).await;
            }
            self.send(&sending);
        }
        self.wait(FAULTY_MS).await?;
        self.heal();
        self.drain().await?;
        while self.kafka.on_their_way() > 0 {
            self.wait(LOOK_MS).await?;
        }
        if self.plan.is_read_again {
            if self.plan.is_forgetful {
                // Looked at before what is remembered is forgotten, too.
                self.wait(REST_MS).await?;
                self.check_all().await?;
            }
            self.read_again().await?;
        }
        self.wait(REST_MS).await?;
        self.check_all().await?;
        if self.plan.is_made_anew {
            self.make_anew().await?;
            self.wait(REST_MS).await?;
            self.check_all().await?;
        }
        if self.plan.is_poisoned {
            self.spoil().await?;
        }
        Ok(())
    }

    fn send(&self, sending: &Sending) {
        let value = original(&sending.value);
        let offset = self.kafka.send(sending.topic, sending.partition, value);
        let mut sent = self.sent.borrow_mut();
        if let Some(key) = &sending.key {
            sent.primaries.insert(key.clone(), machine::now_ms());
        }
        if sending.topic == FOREIGN {
            let id = self.kafka.topic(FOREIGN).map(|info| info.id);
            let id = id.unwrap_or_default();
            sent.note(id, sending, offset);
        }
    }

    /// Lets time pass, and looks now and then whether something was violated.
    async fn wait(&self, for_ms: u64) -> Result<(), Violation> {
        let end = machine::now_ms() + for_ms;
        loop {
            if let Some(violation) = self.violation.borrow().clone() {
                return Err(violation);
            }
            let left = end.saturating_sub(machine::now_ms());
            if left == 0 {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(left.min(LOOK_MS))).await;
        }
    }

    fn heal(&self) {
        trace!("all is healed");
        self.healed.set(true);
        self.kafka.heal();
        for process in self.processes.borrow().iter() {
            if let Some(life) = &process.life {
                life.stall(false);
            }
        }
    }

    async fn drain(&self) -> Result<(), Violation> {
        let deadline = machine::now_ms() + DRAINED_WITHIN_MS + self.narrow_ms();
        while machine::now_ms() <= deadline {
            if liveness::open(self) == 0 && liveness::left(self).is_none() {
                break;
            }
            self.wait(LOOK_MS).await?;
        }
        if let Some(words) = liveness::left(self) {
            let invariant = liveness::INVARIANT;
            return Err(Violation { invariant, words });
        }
        trace!("all is done");
        Ok(())
    }

    /// How much longer it takes where there is room for few events, ms: one that finds nobody holds the window for all of its wait, and in each window there
    /// may be one.
    fn narrow_ms(&self) -> u64 {
        if !self.plan.is_narrow {
            return 0;
        }
        let longest = self.kafka.with_topic(FOREIGN, |topic| {
            let ends = topic.partitions.iter().map(|partition| partition.end);
            ends.max().unwrap_or(0)
        });
        let windows = longest.div_ceil(NARROW_WINDOW as u64);
        windows * u64::try_from(WAIT_MAX.as_millis()).expect("seconds")
    }

    /// The foreign topic is read from its beginning: nothing may come of it.
    async fn read_again(self: &Rc<Self>) -> Result<(), Violation> {
        if self.plan.is_forgetful {
            self.wait(FORGOTTEN_MS).await?;
        }
        trace!("all is read again");
        self.kafka.forget_positions();
        let count = self.processes.borrow().len();
        let is_reader = |at: &usize| self.processes.borrow()[*at].role == Role::Dispatcher;
        let readers: Vec<usize> = (0..count).filter(is_reader).collect();
        readers.into_iter().for_each(|number| self.kill(number));
        self.drain().await
    }

    /// The foreign topic is made anew, and more is sent: what stands where something stood before is another event.
    async fn make_anew(self: &Rc<Self>) -> Result<(), Violation> {
        trace!("the foreign topic is made anew");
        self.kafka.make_anew(FOREIGN);
        self.sent.borrow_mut().places.clear();
        self.commits.borrow_mut().begin_anew();
        if self.random(|random| random.random()) {
            let count = self.processes.borrow().len();
            self.kill(self.random(|random| random.random_range(0..count)));
        }
        self.wait(UNNOTICED_MS).await?;
        for sending in workload_anew(&self.plan) {
            self.send(&sending);
            tokio::time::sleep(Duration::from_millis(ANEW_EVERY_MS)).await;
        }
        self.drain().await
    }

    /// A broken record of ours gets into the log.
    async fn spoil(&self) -> Result<(), Violation> {
        let partition = self.random(|random| random.random_range(0..self.plan.log_partitions));
        let Some(offset) = self.kafka.spoil(LOG, partition) else {
            return Ok(());
        };
        trace!("{LOG}/{partition}/{offset} is broken");
        *self.poison.borrow_mut() = Some(Poison::at(partition, offset));
        self.wait(POISON_MS).await?;
        let processes = self.processes.borrow();
        let replicas =
            (0..processes.len()).filter(|number| processes[*number].role == Role::Registry);
        let poison = self.poison.borrow();
        let checked = poison
            .as_ref()
            .map_or(Ok(()), |poison| poison.check(replicas));
        checked.map_err(|words| Violation {
            invariant: poison::INVARIANT,
            words,
        })
    }

    async fn check_all(&self) -> Result<(), Violation> {
        let violation = |invariant| move |words| Violation { invariant, words };
        {
            let (sent, ledger) = (self.sent.borrow(), self.ledger.borrow());
            outcomes::check(&sent, &ledger).map_err(violation(outcomes::INVARIANT))?;
        }
        rows::check(&self.ledger.borrow(), &self.redis.borrow())
            .map_err(violation(rows::INVARIANT))?;
        let winners = replicas::winners(&self.ledger.borrow());
        let all: Vec<_> = (self.processes.borrow().iter())
            .filter_map(Process::registry)
            .collect();
        let mut statuses = Vec::new();
        for Callee { handle, .. } in all {
            let checked = replicas::check_winners(&handle, &winners, self.plan.is_forgetful);
            checked.await.map_err(violation(replicas::INVARIANT))?;
            statuses.extend(handle.status().await);
        }
        replicas::check_digests(&statuses)
            .and_then(|()| replicas::check_ages(&statuses))
            .map_err(violation(replicas::INVARIANT))
    }

    /// Something that must never be; the first one counts.
    pub fn violated(&self, invariant: &'static str, words: String) {
        trace!("violated: {invariant}: {words}");
        let violation = Violation { invariant, words };
        self.violation.borrow_mut().get_or_insert(violation);
    }

    /// So many partitions the log is to have, if more than it began with.
    pub fn wanted_partitions(&self) -> Option<u32> {
        Some(self.plan.log_partitions * self.plan.splits?)
    }

    /// Whether all faults are over.
    pub fn is_healed(&self) -> bool {
        self.healed.get()
    }

    /// Whether this goes wrong now.
    pub fn suffers(&self, fault: Fault) -> bool {
        !self.healed.get() && self.plan.has(fault)
    }

    /// Draws.
    pub fn random<A>(&self, draw: impl FnOnce(&mut ChaCha8Rng) -> A) -> A {
        draw(&mut self.random.borrow_mut())
    }

    /// Where a registry keeps its files.
    pub fn folder_of(&self, number: usize) -> PathBuf {
        self.folder.join(&self.processes.borrow()[number].name)
    }

    /// A living registry, one after the other.
    pub fn registry(&self, turn: usize) -> Option<Callee<RegistryHandle>> {
        let processes = self.processes.borrow();
        let mut living: Vec<_> = processes.iter().filter_map(Process::registry).collect();
        let count = living.len().max(1);
        (turn % count < living.len()).then(|| living.swap_remove(turn % count))
    }

    /// A living joiner, one after the other.
    pub fn joiner(&self, turn: usize) -> Option<Callee<JoinerHandle>> {
        let mut living = self.joiners();
        let count = living.len().max(1);
        (turn % count < living.len()).then(|| living.swap_remove(turn % count))
    }

    /// All living joiners.
    pub fn joiners(&self) -> Vec<Callee<JoinerHandle>> {
        let processes = self.processes.borrow();
        processes.iter().filter_map(Process::joiner).collect()
    }

    /// A record has arrived in a topic that our processes write.
    pub fn arrived(&self, topic: &str, record: &SimulatedRecord) {
        let arrived = if topic == LOG {
            self.ledger.borrow_mut().arrived(record, machine::now_ms())
        } else {
            let is_parked = self.retries.borrow_mut().arrived(topic, record);
            is_parked
                .then_some(())
                .ok_or("it is no parked event".into())
        };
        if let Err(words) = arrived {
            let (partition, offset) = (record.partition, record.offset);
            let words = format!("{topic}/{partition}/{offset}: {words}");
            self.violated("each topic holds what belongs there", words);
        }
    }

    /// A group has committed.
    pub fn committed(&self, topic: &str, positions: &[(PartitionId, Offset)]) {
        let ledger = self.ledger.borrow();
        let checked = if topic == FOREIGN {
            let (sent, retries) = (self.sent.borrow(), self.retries.borrow());
            let mut commits = self.commits.borrow_mut();
            commits.check(&sent, &ledger, &retries, positions)
        } else {
            let mut retries = self.retries.borrow_mut();
            commits::check_retries(&mut retries, &ledger, topic, positions)
        };
        if let Err(words) = checked {
            self.violated(commits::INVARIANT, words);
        }
    }

    /// A registry has answered.
    pub fn judged(&self, asked: &[Registration], answers: &[Verdict]) {
        for (asked, verdict) in asked.iter().zip(answers) {
            trace!("{}: {verdict:?}", asked.id);
            if let Err(words) = verdicts::check(&self.ledger.borrow(), asked, *verdict) {
                self.violated(verdicts::INVARIANT, words);
            }
        }
    }

    /// A joiner that began then has answered.
    pub fn joined(&self, began_ms: u64, asked: &[ForeignEvent], answers: &[JoinVerdict]) {
        for (asked, verdict) in asked.iter().zip(answers) {
            let checked = partners::check(&self.sent.borrow(), began_ms, asked, *verdict);
            if let Err(words) = checked {
                self.violated(partners::INVARIANT, words);
            }
        }
    }

    /// A registry was asked what it knows.
    pub fn looked_up(&self, asked: &[LookupItem], answers: &[Option<Known>]) {
        for (asked, known) in asked.iter().zip(answers) {
            let Some(known) = known else { continue };
            if let Err(words) = verdicts::check_known(&self.ledger.borrow(), asked, known) {
                self.violated(verdicts::INVARIANT, words);
            }
        }
    }
}
