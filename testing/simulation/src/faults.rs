//! What goes wrong now and then. What goes wrong with a single call or append is drawn there.

use crate::kafka::Lies;
use crate::plan::{Fault, Plan};
use crate::process::Role;
use crate::trace::trace;
use crate::world::{LOG, World, world};
use rand::Rng;
use rand::seq::IndexedRandom;
use rtf_proto::PartitionId;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

/// Between two faults of a kind, ms.
const EVERY_MS: std::ops::Range<u64> = 200..4_000;
/// A stalled process goes on after this, ms: some before their session ends, some long after.
const STALLED_MS: std::ops::Range<u64> = 50..9_000;
/// Kafka does not answer a process for so long, ms.
const CUT_OFF_MS: std::ops::Range<u64> = 50..5_000;
/// Records come late by so much, ms.
const LAG_MS: std::ops::Range<u64> = 50..1_500;
/// A leader's clock is wrong by so much at the most, ms.
const JUMP_MS: i64 = 3_600_000;

/// How the simulated Kafka lies in this plan.
pub fn lies(plan: &Plan) -> Lies {
    let share = |fault, share| if plan.has(fault) { share } else { 0 };
    Lies {
        lost_acks: share(Fault::LostAck, 40),
        ghosts: share(Fault::Ghost, 40),
        are_old: !plan.is_small,
        truncated: share(Fault::Truncation, 40),
        doubled: share(Fault::Double, 40),
        gaps: share(Fault::Gap, 100),
    }
}

/// Begins to do what the plan has.
pub fn begin(plan: &Plan) {
    for fault in plan.faults.iter().copied() {
        tokio::spawn(async move {
            while wait().await {
                if let Some(world) = world() {
                    strike(&world, fault);
                }
            }
        });
    }
}

/// Waits for the next time; false when all is healed.
async fn wait() -> bool {
    let Some(after) = draw(|random| random.random_range(EVERY_MS)) else {
        return false;
    };
    tokio::time::sleep(Duration::from_millis(after)).await;
    world().is_some_and(|world| !world.is_healed())
}

fn draw<A>(from: impl FnOnce(&mut rand_chacha::ChaCha8Rng) -> A) -> Option<A> {
    Some(world()?.random(from))
}

fn strike(world: &Rc<World>, fault: Fault) {
    match fault {
        Fault::Kill => world.kill(any(world)),
        Fault::Stop => {
            let number = any(world);
            let processes = world.processes.borrow();
            trace!("{} is told to stop", processes[number].name);
            processes[number].stop();
        }
        Fault::Stall => stall(world, any(world)),
        Fault::PowerCut => cut_power(world, any_registry(world)),
        Fault::Wipe => wipe(world, any_registry(world)),
        Fault::Torn => match any_keeping_joiner(world) {
            Some(joiner) => damage(world, joiner),
            None => tear(world, any_registry(world)),
        },
        Fault::Election => {
            let partition = any_log_partition(world);
            trace!("log partition {partition} has a new leader");
            world.kafka.elect(LOG, partition);
        }
        Fault::Jump => {
            let partition = any_log_partition(world);
            let by_ms = world.random(|random| random.random_range(-JUMP_MS..JUMP_MS));
            trace!("the clock of log partition {partition} jumps by {by_ms}");
            world.kafka.jump(LOG, partition, by_ms);
        }
        Fault::CutOff => {
            let name = world.processes.borrow()[any(world)].name.clone();
            let for_ms = world.random(|random| random.random_range(CUT_OFF_MS));
            trace!("{name} is cut off from Kafka for {for_ms}");
            world.kafka.cut_off(&name, for_ms);
        }
        Fault::Lag => {
            let name = world.processes.borrow()[any(world)].name.clone();
            hold_back(world, &name);
        }
        Fault::Fenced => {
            trace!("all producers are fenced");
            world.kafka.break_producers();
        }
        Fault::Rebalance => {
            trace!("all groups rebalance");
            world.kafka.rebalance();
        }
        Fault::LostPositions => {
            trace!("the groups' positions are lost");
            world.kafka.forget_positions();
        }
        Fault::RedisForgets => {
            trace!("Redis fails over");
            world.random(|random| world.redis.borrow_mut().forget(random));
        }
        Fault::RedisFlushed => {
            trace!("Redis is flushed");
            world.redis.borrow_mut().flush();
        }
        // They befall single appends and calls.
        Fault::LostAck
        | Fault::Ghost
        | Fault::Truncation
        | Fault::Double
        | Fault::Gap
        | Fault::LostCall
        | Fault::LostAnswer
        | Fault::Slow
        | Fault::LostWakeUp
        | Fault::RedisSilent
        | Fault::RedisLate => {}
    }
}

/// A client gets the latest records later than others.
pub fn hold_back(world: &World, name: &str) {
    let for_ms = world.random(|random| random.random_range(LAG_MS));
    trace!("{name} lags for {for_ms}");
    world.kafka.hold_back(name, for_ms);
}

fn any(world: &World) -> usize {
    let processes = world.processes.borrow().len();
    world.random(|random| random.random_range(0..processes))
}

fn any_registry(world: &World) -> usize {
    let processes = world.processes.borrow();
    let all = (0..processes.len()).filter(|at| processes[*at].role == Role::Registry);
    let all: Vec<usize> = all.collect();
    let one = world.random(|random| all.choose(random).copied());
    one.expect("there is one at the least")
}

/// In half of the cases, where joiners have a disk.
fn any_keeping_joiner(world: &World) -> Option<usize> {
    if !world.plan.keeps || world.random(|random| random.random_bool(0.5)) {
        return None;
    }
    let processes = world.processes.borrow();
    let all = (0..processes.len()).filter(|at| processes[*at].role == Role::Joiner);
    let all: Vec<usize> = all.collect();
    world.random(|random| all.choose(random).copied())
}

fn any_log_partition(world: &World) -> PartitionId {
    world.random(|random| random.random_range(0..world.plan.log_partitions))
}

fn stall(world: &World, number: usize) {
    let processes = world.processes.borrow();
    let Some(life) = processes[number].life.clone() else {
        return;
    };
    let for_ms = world.random(|random| random.random_range(STALLED_MS));
    trace!("{} stalls for {for_ms}", processes[number].name);
    life.stall(true);
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(for_ms)).await;
        life.stall(false);
    });
}

fn cut_power(world: &Rc<World>, number: usize) {
    world.kill(number);
    let folder = world.folder_of(number);
    world.random(|random| world.disk.cut_power(&folder, || random.random()));
}

fn tear(world: &Rc<World>, number: usize) {
    world.kill(number);
    let folder = world.folder_of(number);
    let draw = |below| world.random(|random| random.random_range(0..below));
    if world.disk.tear(&folder, draw) {
        trace!("what {} has on its disk is torn", name_of(&folder));
    }
}

/// A bit of a file of a joiner's store is turned over, or its end is lost.
fn damage(world: &Rc<World>, number: usize) {
    world.kill(number);
    let folder = world.folder_of(number);
    let files = std::fs::read_dir(folder.join("events"))
        .into_iter()
        .flatten();
    let mut files: Vec<_> = files.filter_map(|file| Some(file.ok()?.path())).collect();
    files.sort();
    let Some(file) = world.random(|random| files.choose(random).cloned()) else {
        return;
    };
    let mut bytes = std::fs::read(&file).unwrap_or_default();
    if bytes.is_empty() {
        return;
    }
    let draw = |below| world.random(|random| random.random_range(0..below));
    let at = draw(bytes.len());
    match draw(2) {
        0 => bytes[at] ^= 1 << draw(8),
        _ => bytes.truncate(at),
    }
    // A file that cannot be written stays as it was.
    let is_damaged = std::fs::write(&file, bytes).is_ok();
    trace!("a file of {} is damaged: {is_damaged}", name_of(&folder));
}

fn name_of(folder: &Path) -> std::path::Display<'_> {
    Path::new(folder.file_name().unwrap_or_default()).display()
}

fn wipe(world: &Rc<World>, number: usize) {
    world.kill(number);
    let folder = world.folder_of(number);
    trace!("{} is removed", name_of(&folder));
    // It may never have got so far as to make it. The task of what was killed ends before it is started again.
    tokio::spawn(async move {
        let _ = std::fs::remove_dir_all(folder);
    });
}
