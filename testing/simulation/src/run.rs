//! Runs plans, each on a machine of its own and none in this process, and looks for the smallest one that still fails.
//!
//! Seeds share a process, since a process's beginning costs as much as a small seed's whole run. What they share there, the counter that the runtime draws
//! its lots from, stands where it always stands for a seed: each has its own place among the [`SHARED_BY`], and places that nobody takes are passed over.

use crate::apart::apart;
use crate::check::Violation;
use crate::plan::Plan;
pub use crate::trace::Keep;
use crate::{machine, trace, world};
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::Once;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// A panic's promise.
pub const PANIC: &str = "nothing panics";
/// The simulation's own promise: where time passes, others get their turn.
pub const RUSH: &str = "nobody waits without sleeping";
/// The seed that a process begins with.
const FIRST: u64 = 0;
/// So many seeds may share a process.
const SHARED_BY: u64 = 16;
/// Files of simulated disks need not wait for a real one, where there is such a place.
const MEMORY: &str = "/dev/shm";

/// What came of a plan.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// A sum over all that happened, if it was to be kept.
    pub hash: u64,
    /// All that happened, if it was to be kept.
    pub lines: Vec<String>,
    /// What was violated, if anything.
    pub violation: Option<Violation>,
}

thread_local! {
    static PANICS: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs a plan in a process of its own.
///
/// # Panics
/// The system gives no process.
pub fn run(plan: &Plan, keep: Keep) -> Report {
    let mut reports = together(std::slice::from_ref(plan), keep);
    reports.pop().expect("one for each plan")
}

/// Runs plans of seeds that rise, as many as somebody wants to see.
///
/// # Panics
/// The system gives no process.
pub fn run_all(
    plans: impl Iterator<Item = Plan>,
    keep: Keep,
) -> impl Iterator<Item = (Plan, Report)> {
    let mut plans = plans.peekable();
    let sharing = std::iter::from_fn(move || {
        let first = plans.next()?;
        let shares = |plan: &Plan| plan.seed / SHARED_BY == first.seed / SHARED_BY;
        let others = std::iter::from_fn(|| plans.next_if(shares));
        let others: Vec<_> = others.collect();
        Some(std::iter::once(first).chain(others).collect::<Vec<_>>())
    });
    sharing.flat_map(move |plans| {
        let reports = together(&plans, keep);
        plans.into_iter().zip(reports)
    })
}

/// Runs plans that share a process.
fn together(plans: &[Plan], keep: Keep) -> Vec<Report> {
    prepare();
    let folder = folder();
    let said = apart(|| Report::encode(one_by_one(plans, folder.path(), keep)));
    match said {
        Some(said) => Report::decode(&said),
        None if plans.len() == 1 => vec![Report::of_panic("its process died".into())],
        // Which of them did it comes out when each is alone.
        None => plans.iter().map(|plan| run(plan, keep)).collect(),
    }
}

fn one_by_one(plans: &[Plan], folder: &Path, keep: Keep) -> Vec<Report> {
    let mut place = 0;
    let run = |plan: &Plan| {
        let before = place..plan.seed % SHARED_BY;
        place = before.end + 1;
        before.for_each(|_| pass_over());
        let folder = folder.join(plan.seed.to_string());
        std::fs::create_dir(&folder).expect("a folder for simulated disks");
        on_a_thread(plan, &folder, keep)
    };
    plans.iter().map(run).collect()
}

/// As many lots are drawn as by a seed.
fn pass_over() {
    let nothing = std::thread::spawn(|| runtime().block_on(async {}));
    nothing.join().expect("nothing is done there");
}

/// What a process makes once, with randomness of its own, is made before any seed counts: it must not depend on which seed is the first.
fn prepare() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        hear_panics();
        on_a_thread(&Plan::of(FIRST), folder().path(), Keep::Sum);
    });
}

/// For simulated disks. Its name is drawn by the real machine, outside of a simulation.
fn folder() -> TempDir {
    let mut folder = tempfile::Builder::new();
    let folder = folder.prefix("rtf-simulation-").tempdir_in(memory());
    folder.expect("a folder for simulated disks")
}

/// A thread's own things are new as well.
fn on_a_thread(plan: &Plan, folder: &Path, keep: Keep) -> Report {
    let (plan, folder) = (plan.clone(), folder.to_owned());
    let simulation = std::thread::Builder::new()
        .name("simulation".into())
        .spawn(move || simulate(&plan, &folder, keep));
    let ended = simulation.expect("the system gives a thread").join();
    ended.unwrap_or_else(|panic| Report::of_panic(rtf_service::thread::words(panic.as_ref())))
}

impl Report {
    fn of_panic(words: String) -> Self {
        Self {
            hash: 0,
            lines: Vec::new(),
            violation: Some(Violation {
                invariant: PANIC,
                words,
            }),
        }
    }

    fn encode(reports: Vec<Self>) -> Vec<u8> {
        let said = reports.into_iter().map(|report| {
            let violation = report.violation.map(|v| (v.invariant, v.words));
            (report.hash, report.lines, violation)
        });
        let said = serde_json::to_vec(&said.collect::<Vec<_>>());
        said.expect("numbers and texts")
    }

    fn decode(said: &[u8]) -> Vec<Self> {
        type Said = (u64, Vec<String>, Option<(String, String)>);
        let said: Vec<Said> =
            serde_json::from_slice(said).expect("what the copy of this process wrote");
        let reports = said.into_iter().map(|(hash, lines, violation)| Self {
            hash,
            lines,
            violation: violation.map(|(invariant, words)| Violation {
                // There are few violations, and a process that saw some ends soon.
                invariant: invariant.leak(),
                words,
            }),
        });
        reports.collect()
    }
}

fn simulate(plan: &Plan, folder: &Path, keep: Keep) -> Report {
    machine::switch_on(plan.seed);
    trace::begin(keep);
    let runtime = runtime();
    let violation = runtime.block_on(async {
        machine::begin();
        world::run(plan, folder).await
    });
    drop(runtime);
    let (hash, lines) = trace::end();
    let rushed = machine::was_rushed().then(|| Violation {
        invariant: RUSH,
        words: "somebody looks at the clock again and again until it is late enough".into(),
    });
    let panic = PANICS.with(|panic| panic.borrow_mut().take());
    let panic = panic.map(|words| Violation {
        invariant: PANIC,
        words,
    });
    Report {
        hash,
        lines,
        violation: panic.or(violation).or(rushed),
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .on_thread_unpark(machine::awake)
        .build()
        .expect("a runtime without I/O needs nothing of the system")
}

fn memory() -> PathBuf {
    let memory = PathBuf::from(MEMORY);
    if memory.is_dir() {
        memory
    } else {
        std::env::temp_dir()
    }
}

/// A panic in a task is the runtime's; here it is heard.
fn hear_panics() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if std::thread::current().name() == Some("simulation") {
            PANICS.with(|words| words.borrow_mut().get_or_insert(panic.to_string()).len());
        } else {
            usual(panic);
        }
    }));
}

/// A smaller plan that violates the same: fewer faults first, then fewer processes, then fewer events.
pub fn shrink(plan: &Plan, invariant: &str) -> Plan {
    let fails = |plan: &Plan| {
        let violation = run(plan, Keep::Nothing).violation;
        violation.is_some_and(|violation| violation.invariant == invariant)
    };
    let mut smallest = plan.clone();
    loop {
        let smaller = candidates(&smallest).into_iter().find(|plan| fails(plan));
        match smaller {
            Some(smaller) => smallest = smaller,
            None => return smallest,
        }
    }
}

fn candidates(plan: &Plan) -> Vec<Plan> {
    let mut all = Vec::new();
    for fault in &plan.faults {
        let mut smaller = plan.clone();
        smaller.faults.remove(fault);
        all.push(smaller);
    }
    let mut with = |change: &dyn Fn(&mut Plan)| {
        let mut smaller = plan.clone();
        change(&mut smaller);
        if smaller != *plan {
            all.push(smaller);
        }
    };
    with(&|plan| plan.is_read_again &= plan.is_forgetful);
    with(&|plan| plan.is_forgetful = false);
    with(&|plan| plan.sites = 1);
    with(&|plan| plan.collects = false);
    with(&|plan| plan.is_narrow = false);
    with(&|plan| plan.parks = false);
    with(&|plan| plan.keeps = false);
    with(&|plan| plan.splits = None);
    with(&|plan| plan.is_made_anew = false);
    with(&|plan| plan.registries = 1);
    with(&|plan| plan.joiners = 1);
    with(&|plan| plan.dispatchers = 1);
    with(&|plan| plan.publishers = 1);
    with(&|plan| plan.log_partitions = 1);
    with(&|plan| plan.partitions = 1);
    with(&|plan| plan.events = (plan.events / 2).max(1));
    all
}
