//! The dispatcher: every foreign event reaches the joiner at least once, and ends as one record in the log (DESIGN §5).
//!
//! # Theory
//!
//! At-least-once here, exactly once in the log. A position is committed only up to the first record that is not resolved, so whatever
//! happens, everything unresolved is read again; and what is resolved is found so by a look-up, or loses in the log.
//! Nothing but the log needs to be right about "once", and this room may be careless about everything but forgetting.
//!
//! ```text
//! reader (OS thread) ─▶ intake ─▶ Core ─▶ batch ─▶ carry: look up ─▶ join ─▶ register
//!        ▲                         ▲ │                         │
//!   pause, commit                  │ └── waiting ◀── not found ┘
//!                      wake-ups ───┘        (retry: back-off, key, collecting, deadline)
//! ```
//!
//! [`Core`] decides and does nothing; the reader, the carriers and the listener do and decide nothing. What waits longer than memory
//! should be asked to hold it is parked in a retry topic, and read again from there by the same machine when it is due; until then the waker
//! beside it knows by which keys it is woken (docs/adr/0011).

mod backoff;
mod carry;
mod clock;
mod core;
mod dispatcher;
mod engine;
mod error;
mod filling;
mod flight;
mod gate;
mod group;
mod health;
mod inflight;
mod intake;
mod key_index;
mod lag;
mod lanes;
mod meters;
mod options;
mod orders;
mod parked;
mod parker;
mod pauses;
mod reader;
mod recent;
mod registration;
mod retry;
mod sites;
mod spans;
mod status;
mod step;
#[cfg(test)]
mod testing;
mod tiers;
mod wakeups;
mod woken;

pub use crate::core::{Answers, Batch, Core, Event, Kind, Limits, Park, Tally, Which};
pub use backoff::Backoff;
pub use dispatcher::Dispatcher;
pub use error::DispatcherError;
pub use flight::{Done, Flight, Landed, Subject};
pub use inflight::{Epoch, Inflight, Place, WindowStatus};
pub use options::Options;
pub use orders::{Left, OperatorError, Rewound};
pub use parked::Parked;
pub use parker::Parking;
pub use recent::Mark;
pub use retry::{Retry, Terms};
pub use sites::Site;
pub use status::{
    AGES, DispatcherHandle, DispatcherStatus, ParkedStatus, PartitionStatus, WaitingEvent,
};
pub use tiers::Tier;

/// Milliseconds since the dispatcher started; does not jump.
pub type Millis = u64;
