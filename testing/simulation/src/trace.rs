//! What happened, in order: a sum over all of it, and the lines themselves where somebody wants to read them.

use crate::machine::now_ms;
use std::cell::RefCell;
use std::fmt::Write;

/// FNV-1a's.
const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0100_0000_01b3;

/// What is kept of a trace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Keep {
    /// Nothing: the lines are not even written.
    Nothing,
    /// A sum over its lines.
    Sum,
    /// The sum and the lines.
    Lines,
}

/// One run's trace.
#[derive(Default, Debug)]
pub struct Trace {
    is_off: bool,
    hash: u64,
    lines: Option<Vec<String>>,
    line: String,
}

thread_local! {
    static TRACE: RefCell<Trace> = RefCell::default();
}

/// Begins anew.
pub fn begin(keep: Keep) {
    TRACE.with(|trace| {
        *trace.borrow_mut() = Trace {
            is_off: keep == Keep::Nothing,
            hash: OFFSET_BASIS,
            lines: (keep == Keep::Lines).then(Vec::new),
            line: String::new(),
        };
    });
}

/// The sum so far, and the lines that were kept.
pub fn end() -> (u64, Vec<String>) {
    TRACE.with(|trace| {
        let mut trace = trace.borrow_mut();
        (trace.hash, trace.lines.take().unwrap_or_default())
    })
}

/// Something happened.
pub fn note(what: std::fmt::Arguments<'_>) {
    TRACE.with(|trace| {
        let trace = &mut *trace.borrow_mut();
        if trace.is_off {
            return;
        }
        trace.line.clear();
        write!(trace.line, "{:>8} {what}", now_ms()).expect("writing into memory cannot fail");
        for byte in trace.line.bytes() {
            trace.hash = (trace.hash ^ u64::from(byte)).wrapping_mul(PRIME);
        }
        if let Some(lines) = &mut trace.lines {
            lines.push(trace.line.clone());
        }
    });
}

/// Notes what happened, as `format!` has it.
macro_rules! trace {
    ($($what:tt)*) => {
        $crate::trace::note(format_args!($($what)*))
    };
}
pub(crate) use trace;
