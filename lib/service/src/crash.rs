//! Named steps at which a test can have the process killed, as by `kill -9`.
//!
//! Only in builds with the feature `fail-points`, which the tests switch on; everywhere else a point is nothing. Which step kills is said in the
//! environment variable `FAILPOINTS`, as the crate `fail` has it: `registry-after-commit=return` kills at the first passage,
//! `registry-after-commit=9*off->return` at the tenth.

/// Reads `FAILPOINTS`. Called once, when the process begins.
pub fn set_up() {
    #[cfg(feature = "fail-points")]
    // It stays for the life of the process.
    std::mem::forget(fail::FailScenario::setup());
}

/// A step. Here the process ends, if the environment says so.
#[inline]
pub fn point(_name: &'static str) {
    #[cfg(feature = "fail-points")]
    fail::fail_point!(_name, |_| {
        let own = rustix::process::getpid();
        let _ = rustix::process::kill_process(own, rustix::process::Signal::KILL);
    });
}

/// Whether the environment wants something to go wrong here that is no death: what is lost that may be lost.
#[inline]
pub fn wants(_name: &'static str) -> bool {
    #[cfg(feature = "fail-points")]
    fail::fail_point!(_name, |_| true);
    false
}
