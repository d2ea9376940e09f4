//! The one thread from which every child process is started.
//!
//! A child must not outlive the test run, even if that is killed. Linux can send it a signal when its parent
//! dies (`setpriv --pdeathsig`), but "parent" there means the *thread* that started it: a server that one
//! test started and others share would die with the first test's thread. This thread lives as long
//! as the process.

use std::io;
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::mpsc::{self, SyncSender};
use std::thread;

struct Job {
    command: Command,
    answer: SyncSender<io::Result<Child>>,
}

static SPAWNER: LazyLock<SyncSender<Job>> = LazyLock::new(|| {
    let (jobs, inbox) = mpsc::sync_channel::<Job>(0);
    thread::Builder::new()
        .name("spawner".into())
        .spawn(move || {
            for mut job in inbox {
                // Whoever asked waits for the answer, so it can only be gone if its thread was.
                let _ = job.answer.send(job.command.spawn());
            }
        })
        .expect("a test run can start one thread");
    jobs
});

/// Whether this machine's `setpriv` can tie a child's life to ours (util-linux has it, BusyBox's has not).
static CAN_BIND_LIVES: LazyLock<bool> = LazyLock::new(|| {
    Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "true"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
});

/// Starts `command`; where the machine can do it, the child is killed when this process ends.
pub(crate) fn spawn(command: Command) -> io::Result<Child> {
    let (answer, result) = mpsc::sync_channel(1);
    SPAWNER
        .send(Job { command, answer })
        .expect("the spawner never ends");
    result.recv().expect("the spawner answers every job")
}

/// The command by which a `program` is started, before its arguments.
pub(crate) fn bound_to_our_life(program: &std::ffi::OsStr) -> Command {
    if !*CAN_BIND_LIVES {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}
