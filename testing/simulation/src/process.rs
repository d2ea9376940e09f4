//! The processes: started, killed, stalled, started again.

use crate::check::readiness;
use crate::faults;
use crate::kafka::Topic;
use crate::life::Life;
use crate::network::{Callee, Joiners, Registries};
use crate::plan::Fault;
use crate::redis::RedisOf;
use crate::retries;
use crate::trace::trace;
use crate::workload::{FOREIGN, PRIMARY};
use crate::world::{GROUPS, LOG, NARROW_WINDOW, WAIT_MAX, World, world};
use anyhow::Result;
use futures::FutureExt;
use rand::Rng;
use rtf_dispatcher::{Dispatcher, Site};
use rtf_joiner::{JoinerHandle, JoinerRole, Policy};
use rtf_json::Folding;
use rtf_kafka::simulated;
use rtf_proto::Registry;
use rtf_publisher::Publisher;
use rtf_registry::{RegistryFailure, RegistryHandle, Replica};
use rtf_service::Readiness;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

/// A process that ended is started again after this, ms.
const RESTART_MS: std::ops::Range<u64> = 20..4_000;
/// Who has a partner waits for more so long.
const COLLECT: Duration = Duration::from_millis(700);
/// The longest between two tries of an event.
const OFTEN: Duration = Duration::from_secs(2);
const RARELY: Duration = Duration::from_secs(8);
/// Events a dispatcher holds at the most.
const FEW: usize = 80;
const MANY: usize = 1_000_000;
/// Memory of a joiner, bytes.
const LITTLE: usize = 32 << 10;
const PLENTY: usize = 64 << 20;
/// A joiner that Kafka keeps something back from looks again after this.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// A site leaves the others' events to them for so long.
const CLAIM: Duration = Duration::from_millis(800);
/// How long ids are remembered in a forgetful plan, and in the others.
const SHORT_HORIZON: Duration = Duration::from_secs(60);
const LONG_HORIZON: Duration = Duration::from_secs(30 * 24 * 3600);

/// What a process does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Who won.
    Registry,
    /// The join.
    Joiner,
    /// Reads the foreign topic.
    Dispatcher,
    /// Carries rows to Redis.
    Publisher,
}

/// One process, alive or not.
pub struct Process {
    /// What it does.
    pub role: Role,
    /// Its name, and its client's.
    pub name: String,
    /// Which of those who do the same.
    number: usize,
    /// Its present life.
    pub life: Option<Arc<Life>>,
    /// Lives so far.
    lives: u64,
    task: Option<AbortHandle>,
    stop: CancellationToken,
    registry: Option<RegistryHandle>,
    joiner: Option<JoinerHandle>,
}

impl Process {
    /// Not started.
    pub fn new(role: Role, number: usize) -> Self {
        Self {
            role,
            name: format!("{role:?}-{number}").to_lowercase(),
            number,
            life: None,
            lives: 0,
            task: None,
            stop: CancellationToken::new(),
            registry: None,
            joiner: None,
        }
    }

    /// Its registry, to be called.
    pub fn registry(&self) -> Option<Callee<RegistryHandle>> {
        callee(&self.registry, &self.life)
    }

    /// Its joiner, to be called.
    pub fn joiner(&self) -> Option<Callee<JoinerHandle>> {
        callee(&self.joiner, &self.life)
    }

    /// Tells it to end.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    fn end(&mut self) {
        if let Some(life) = self.life.take() {
            life.kill();
        }
        if let Some(task) = self.task.take() {
            task.abort();
        }
        (self.registry, self.joiner) = (None, None);
    }
}

fn callee<H: Clone>(handle: &Option<H>, life: &Option<Arc<Life>>) -> Option<Callee<H>> {
    Some(Callee {
        handle: handle.clone()?,
        life: life.clone()?,
    })
}

impl World {
    /// Starts a process.
    pub fn start(self: &Rc<Self>, number: usize) {
        let life = Arc::new(Life::begin());
        let stop = CancellationToken::new();
        let mut processes = self.processes.borrow_mut();
        let process = &mut processes[number];
        process.lives += 1;
        process.life = Some(life.clone());
        process.stop = stop.clone();
        trace!("{} starts", process.name);
        if self.suffers(Fault::Lag) {
            faults::hold_back(self, &process.name);
        }
        let (role, name) = (process.role, process.name.clone());
        let work = async move {
            let run = run(role, number, name, life.clone(), stop);
            let ended = life.live(run).await;
            if let Some(world) = world() {
                world.ended(number, ended);
            }
        };
        process.task = Some(tokio::spawn(work).abort_handle());
    }

    /// Kills a process and has it started again.
    pub fn kill(self: &Rc<Self>, number: usize) {
        let mut processes = self.processes.borrow_mut();
        let process = &mut processes[number];
        if process.life.is_some() {
            trace!("{} is killed", process.name);
            process.end();
            drop(processes);
            self.restart(number);
        }
    }

    fn ended(self: &Rc<Self>, number: usize, ended: Result<()>) {
        let mut processes = self.processes.borrow_mut();
        let process = &mut processes[number];
        // Where the simulated disks lie differs from run to run.
        let folder = self.folder.to_string_lossy();
        let words = ended.as_ref().map_or_else(
            |error| format!("{error:#}").replace(&*folder, ""),
            |()| "well".into(),
        );
        trace!("{} ends: {words}", process.name);
        process.end();
        drop(processes);
        if let Err(error) = ended {
            self.failed(number, &error);
        }
        self.restart(number);
    }

    /// Some ends are never right, whatever went wrong around.
    fn failed(&self, number: usize, error: &anyhow::Error) {
        use RegistryFailure as F;
        let failure = error.downcast_ref::<RegistryFailure>();
        let is_poison = |failure| {
            let mut poison = self.poison.borrow_mut();
            poison
                .as_mut()
                .is_some_and(|poison| poison.stops(number, failure))
        };
        if failure.is_some_and(is_poison) {
            return;
        }
        let is_bad = match failure {
            Some(F::Stalled { .. } | F::Kafka(_)) => false,
            Some(_) => true,
            None => error.is::<rtf_dispatcher::DispatcherError>(),
        };
        if is_bad {
            let name = self.processes.borrow()[number].name.clone();
            self.violated("no process ends by itself", format!("{name}: {error}"));
        }
    }

    fn restart(self: &Rc<Self>, number: usize) {
        let lives = self.processes.borrow()[number].lives;
        let after = self.random(|random| random.random_range(RESTART_MS));
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(after)).await;
            if let Some(world) = world() {
                let is_next = world.processes.borrow()[number].lives == lives;
                if is_next {
                    world.start(number);
                }
            }
        });
    }
}

async fn run(
    role: Role,
    number: usize,
    name: String,
    life: Arc<Life>,
    stop: CancellationToken,
) -> Result<()> {
    match role {
        Role::Registry => registry(number, &name, stop).await,
        Role::Joiner => joiner(number, &name, &life).await,
        Role::Dispatcher => dispatcher(number, &name, &life, stop).await,
        Role::Publisher => publisher(&life, stop).await,
    }
}

async fn registry(number: usize, name: &str, stop: CancellationToken) -> Result<()> {
    let (replica, ends) = {
        let world = world().expect("its world is there");
        let ends = world.kafka.with_topic(LOG, Topic::ends);
        let options = rtf_registry::Options {
            topic: LOG.into(),
            partitions: world.plan.log_partitions,
            serves: None,
            replication: None,
            horizon: match world.plan.is_forgetful {
                true => SHORT_HORIZON,
                false => LONG_HORIZON,
            },
            data: world.folder.join(name),
            skip: BTreeSet::new(),
            strict: true,
        };
        let replica = Replica::open(&options, &simulated::settings(name))?;
        world.processes.borrow_mut()[number].registry = Some(replica.handle());
        (replica, ends)
    };
    let (name, handle) = (name.to_owned(), replica.handle());
    let ready = move || {
        trace!("{name} is ready");
        let status = handle.status().now_or_never().and_then(Result::ok);
        let checked = readiness::check(&ends, &status.unwrap_or_default());
        if let (Err(words), Some(world)) = (checked, world()) {
            world.violated(readiness::INVARIANT, format!("{name}: {words}"));
        }
    };
    replica.run_simulated(ready, stop).await?;
    Ok(())
}

async fn joiner(number: usize, name: &str, life: &Arc<Life>) -> Result<()> {
    let (keeps, data) = {
        let world = world().expect("its world is there");
        let keeps = world.plan.keeps;
        (keeps, keeps.then(|| world.folder.join(name)))
    };
    let options = rtf_joiner::Options {
        topic: PRIMARY.into(),
        id: vec!["/id".into()],
        key: vec!["/key".into()],
        time: None,
        expires: None,
        folding: Folding::default(),
        policy: Policy::First,
        // So little that what it keeps is flushed and merged some times.
        memory_bytes: if keeps { LITTLE } else { PLENTY },
        data,
        wanted_keys: 1_000,
        batches_in_flight: 64,
    };
    let role = JoinerRole::open(options, &simulated::settings(name), Registries::of(life))?;
    if let Some(world) = world() {
        world.processes.borrow_mut()[number].joiner = Some(role.handle());
    }
    // What it read last it compares while nobody else gets a turn: a Kafka that keeps it back would be asked for ever.
    while keeps && world().is_some_and(|world| world.kafka.keeps_back(name)) {
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    role.run_simulated().await?;
    Ok(())
}

async fn dispatcher(
    number: usize,
    name: &str,
    life: &Arc<Life>,
    stop: CancellationToken,
) -> Result<()> {
    let (plan, number) = {
        let world = world().expect("its world is there");
        let number = world.processes.borrow()[number].number;
        (world.plan.clone(), number as u32)
    };
    let sites = plan.sites;
    let site = Site {
        number: number % sites,
        of: sites,
        claim: CLAIM,
    };
    let options = rtf_dispatcher::Options {
        id: vec!["/id".into()],
        wait_max: WAIT_MAX,
        retry_max: if plan.is_small { RARELY } else { OFTEN },
        batch: plan.batch,
        in_flight: 4,
        // On a thread of its own it would wait for what is in flight; here nothing would come while it does.
        drain: Duration::ZERO,
        site: (sites > 1).then_some(site),
        collect: if plan.collects {
            COLLECT
        } else {
            Duration::ZERO
        },
        max_events: if plan.is_narrow { FEW } else { MANY },
        parking: plan.parks.then(|| retries::parking(site.number)),
        window_events: if plan.is_narrow { NARROW_WINDOW } else { MANY },
        ..rtf_dispatcher::Options::new(FOREIGN, GROUPS[site.number as usize], vec!["/key".into()])
    };
    let dispatcher = Dispatcher::new(
        options,
        simulated::settings(name),
        Registries::of(life),
        Joiners::of(life),
        Readiness::default().component("dispatcher"),
    )?;
    dispatcher.run_simulated(stop).await?;
    Ok(())
}

async fn publisher(life: &Arc<Life>, stop: CancellationToken) -> Result<()> {
    let publisher = Publisher::new(
        rtf_publisher::Options::default(),
        Registries::of(life),
        Arc::new(RedisOf(life.clone())),
        Readiness::default().component("publisher"),
    );
    publisher.run(stop).await;
    Ok(())
}
