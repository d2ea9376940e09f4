//! The machine under a simulation: its clock and its randomness, by thread. Knows nothing of what runs on it.
//!
//! The standard library, and whoever asks the C library, gets both from here while a simulation runs on the thread, and from the system
//! otherwise. So the product's code needs no other clock than its own, and not even a hash map differs between two runs of one seed.

use std::cell::Cell;
use tokio::time::Instant;

/// Simulated time begins here, ms since 1970.
pub const BEGINNING_MS: i64 = 1_767_225_600_000;
/// What a look at the clock takes: no two show the same, and all of them together stay far below what anybody measures.
const LOOK_NS: u64 = 1;
/// Who looks so often while nothing else happens waits for a deadline without ever sleeping: he shall come to it. But the clock is everybody's, and
/// so runs ahead for everybody: see [`was_rushed`].
const IMPATIENT: u64 = 1_000_000;
/// What each further look takes.
const LONG_LOOK_NS: u64 = 1_000_000;
/// A monotonic clock has counted for a while when a program starts.
const MONOTONIC_NS: u64 = 1_000_000_000_000;

struct Machine {
    on: Cell<bool>,
    random: Cell<u64>,
    shown_ns: Cell<u64>,
    /// The simulation's time at the last look, and how often it was looked since it moved.
    passed_ns: Cell<u64>,
    looks: Cell<u64>,
    rushed: Cell<bool>,
    began: Cell<Option<Instant>>,
    /// The simulation's time, ns since the beginning: it stands still until the runtime has slept.
    slept_ns: Cell<u64>,
}

thread_local! {
    static MACHINE: Machine = const {
        Machine {
            on: Cell::new(false),
            random: Cell::new(0),
            shown_ns: Cell::new(0),
            passed_ns: Cell::new(0),
            looks: Cell::new(0),
            rushed: Cell::new(false),
            began: Cell::new(None),
            slept_ns: Cell::new(0),
        }
    };
}

/// From now on this thread is on a machine of its own. Said on a fresh thread, before anything asked for randomness.
pub fn switch_on(seed: u64) {
    MACHINE.with(|machine| {
        machine.random.set(seed);
        machine.on.set(true);
    });
}

/// Time begins; said inside the runtime.
pub fn begin() {
    let now = Instant::now();
    MACHINE.with(|machine| machine.began.set(Some(now)));
}

/// The runtime wakes up: only while it sleeps the simulation's time goes on, so only then it is asked for.
pub fn awake() {
    MACHINE.with(|machine| {
        let passed = machine.began.get().map(|began| began.elapsed().as_nanos());
        let passed = passed.and_then(|passed| u64::try_from(passed).ok());
        machine.slept_ns.set(passed.unwrap_or_default());
    });
}

/// Whether somebody waited without sleeping, so that the clock ran ahead of the simulation's time.
pub fn was_rushed() -> bool {
    MACHINE.with(|machine| machine.rushed.get())
}

/// Simulated milliseconds since the beginning.
pub fn now_ms() -> u64 {
    MACHINE.with(|machine| machine.slept_ns.get()) / 1_000_000
}

impl Machine {
    fn time_ns(&self) -> u64 {
        self.looks.set(self.looks.get() + 1);
        let look = match self.looks.get() > IMPATIENT {
            true => {
                self.rushed.set(true);
                LONG_LOOK_NS
            }
            false => LOOK_NS,
        };
        let passed = self.slept_ns.get();
        let now = (self.shown_ns.get() + look).max(passed);
        if self.passed_ns.replace(passed) != passed {
            self.looks.set(0);
        }
        self.shown_ns.set(now);
        now
    }

    /// SplitMix64.
    fn draw(&self) -> u64 {
        let next = self.random.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
        self.random.set(next);
        let mut z = next;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

/// Seconds and nanoseconds a clock of this thread shows; `None` on a real machine.
fn time(is_wall: bool) -> Option<(u64, u64)> {
    let ns = MACHINE.try_with(|machine| machine.on.get().then(|| machine.time_ns()));
    let began = match is_wall {
        true => BEGINNING_MS.unsigned_abs() * 1_000_000,
        false => MONOTONIC_NS,
    };
    let ns = began + ns.ok().flatten()?;
    Some((ns / 1_000_000_000, ns % 1_000_000_000))
}

/// Whether this thread is on a simulated machine; then `bytes` are its random ones.
fn fill(bytes: &mut [u8]) -> bool {
    let filled = MACHINE.try_with(|machine| {
        if machine.on.get() {
            for chunk in bytes.chunks_mut(8) {
                chunk.copy_from_slice(&machine.draw().to_le_bytes()[..chunk.len()]);
            }
        }
        machine.on.get()
    });
    filled.unwrap_or(false)
}

/// The C library's names, taken by this program for itself.
#[expect(unsafe_code, reason = "the C library's functions have no safe form")]
mod names {
    use libc::{c_int, c_uint, c_void, clockid_t, size_t, ssize_t, timespec};

    /// # Safety
    /// As the C library has it.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn clock_gettime(clock: clockid_t, out: *mut timespec) -> c_int {
        let is_wall = matches!(clock, libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE);
        match super::time(is_wall) {
            Some((seconds, nanos)) => {
                let time = timespec {
                    tv_sec: seconds as libc::time_t,
                    tv_nsec: nanos as libc::c_long,
                };
                // SAFETY: the caller hands in where a time may be written.
                unsafe { out.write(time) };
                0
            }
            // SAFETY: the caller's arguments, as they are.
            None => unsafe { libc::syscall(libc::SYS_clock_gettime, clock, out) as c_int },
        }
    }

    /// # Safety
    /// As the C library has it.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn getrandom(buffer: *mut c_void, bytes: size_t, flags: c_uint) -> ssize_t {
        // SAFETY: the caller hands in a buffer of so many bytes.
        let slice = unsafe { std::slice::from_raw_parts_mut(buffer.cast::<u8>(), bytes) };
        if super::fill(slice) {
            return bytes.cast_signed();
        }
        // SAFETY: the caller's arguments, as they are.
        unsafe { libc::syscall(libc::SYS_getrandom, buffer, bytes, flags) as ssize_t }
    }
}
