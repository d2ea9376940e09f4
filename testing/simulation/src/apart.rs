//! Has something done in a copy of this process, which ends with it: whatever it changes here stays as it was.
//!
//! That is more than a thread of its own gives. Counters that a library keeps for the whole process (the runtime draws its lots from one) would make
//! a seed's trace depend on what ran before it.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;

/// A copy takes milliseconds. One that waits for a lock which another thread held when it was copied (as one that panics does, that of backtraces) would wait for ever.
const SECONDS_MAX: u32 = 120;

/// What `work` gives, done in a copy of this process; `None` when the copy died of it.
///
/// # Panics
/// The system gives no process.
pub fn apart(work: impl FnOnce() -> Vec<u8>) -> Option<Vec<u8>> {
    let (reads, writes) = std::io::pipe().expect("the system gives a pipe");
    let child = fork();
    if child == 0 {
        die_late();
        drop(reads);
        // Nothing of the copy's may run on behind this, not even another thread's destructor.
        let is_told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let said = work();
            File::from(OwnedFd::from(writes)).write_all(&said).is_ok()
        }));
        end(!is_told.unwrap_or(false));
    }
    drop(writes);
    let mut said = Vec::new();
    let is_heard = File::from(OwnedFd::from(reads))
        .read_to_end(&mut said)
        .is_ok();
    let is_well = wait(child);
    (is_heard && is_well).then_some(said)
}

/// The copy gets 0, this process the copy's id.
#[expect(
    unsafe_code,
    reason = "a copy of a process has no safe form; in it only this thread goes on"
)]
fn fork() -> libc::pid_t {
    // SAFETY: the C library keeps its own locks in order. Others that threads of this process could hold (they wait for copies of theirs) the copy
    // does not take: it works on threads and in a runtime of its own, and prints nothing.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "the system gives a process");
    child
}

#[expect(
    unsafe_code,
    reason = "a copy ends without what its original has to do at its end"
)]
fn end(failed: bool) -> ! {
    // SAFETY: ends the process at once.
    unsafe { libc::_exit(i32::from(failed)) }
}

/// The copy dies when it has not ended in time, whatever it waits for.
#[expect(unsafe_code, reason = "the standard library has no alarm")]
fn die_late() {
    // SAFETY: only asks for a signal, which ends the process.
    unsafe { libc::alarm(SECONDS_MAX) };
}

/// Whether it ended well.
#[expect(
    unsafe_code,
    reason = "the standard library waits only for what it has started"
)]
fn wait(child: libc::pid_t) -> bool {
    let mut status = 0;
    loop {
        // SAFETY: the status is written where there is place for it.
        let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
        if waited == child {
            return libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0;
        }
        let error = std::io::Error::last_os_error();
        assert_eq!(
            error.kind(),
            std::io::ErrorKind::Interrupted,
            "a process that was started is waited for: {error}"
        );
    }
}
