//! Runs plans, each in a process and on a machine of its own, and looks for the smallest one that still fails.

use crate::apart::apart;
use crate::check::Violation;
use crate::plan::Plan;
use crate::{machine, trace, world};
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::Once;
use tempfile::TempDir;

/// A panic's promise.
pub const PANIC: &str = "nothing panics";
/// The simulation's own promise: where time passes, others get their turn.
pub const RUSH: &str = "nobody waits without sleeping";
/// The seed that a process begins with.
const FIRST: u64 = 0;
/// Files of simulated disks need not wait for a real one, where there is such a place.
const MEMORY: &str = "/dev/shm";

/// What came of a plan.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// A sum over all that happened.
    pub hash: u64,
    /// All that happened, if it was to be kept.
    pub lines: Vec<String>,
    /// What was violated, if anything.
    pub violation: Option<Violation>,
}

thread_local! {
    static PANICS: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs a plan; keeps its lines or not.
///
/// # Panics
/// The system gives no process.
pub fn run(plan: &Plan, keep: bool) -> Report {
    prepare();
    let folder = folder();
    let said = apart(|| on_a_thread(plan, folder.path(), keep).encode());
    said.map_or_else(
        || Report::of_panic("its process died".into()),
        Report::decode,
    )
}

/// What a process makes once, with randomness of its own, is made before any seed counts: it must not depend on which seed is the first.
fn prepare() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        hear_panics();
        on_a_thread(&Plan::of(FIRST), folder().path(), false);
    });
}

/// For simulated disks. Its name is drawn by the real machine, outside of a simulation.
fn folder() -> TempDir {
    let mut folder = tempfile::Builder::new();
    let folder = folder.prefix("rtf-simulation-").tempdir_in(memory());
    folder.expect("a folder for simulated disks")
}

/// A thread's own things are new as well.
fn on_a_thread(plan: &Plan, folder: &Path, keep: bool) -> Report {
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

    fn encode(self) -> Vec<u8> {
        let violation = self.violation.map(|v| (v.invariant, v.words));
        let said = serde_json::to_vec(&(self.hash, self.lines, violation));
        said.expect("numbers and texts")
    }

    fn decode(said: Vec<u8>) -> Self {
        type Said = (u64, Vec<String>, Option<(String, String)>);
        let (hash, lines, violation): Said =
            serde_json::from_slice(&said).expect("what the copy of this process wrote");
        let violation = violation.map(|(invariant, words)| Violation {
            // There are few violations, and a process that saw some ends soon.
            invariant: invariant.leak(),
            words,
        });
        Self {
            hash,
            lines,
            violation,
        }
    }
}

fn simulate(plan: &Plan, folder: &Path, keep: bool) -> Report {
    machine::switch_on(plan.seed);
    trace::begin(keep);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .on_thread_unpark(machine::awake)
        .build()
        .expect("a runtime without I/O needs nothing of the system");
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
        let violation = run(plan, false).violation;
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
