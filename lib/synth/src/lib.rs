//! rtf-synth makes the demonstration's and the load's data, and knows beforehand what must come of it.
//!
//! Pure: no Kafka, no clock, no file. Times come in as `start_ms`, randomness as `seed`, and the same
//! parameters give the same bytes on every machine. Whoever sends the events paces them by
//! [`Event::at_ms`], or does not.
//!
//! Two workloads of any size, and two small ones:
//! - [`Vacation`]: tweets of people who long for a vacation, and flight deals from where they are.
//! - [`Clicks`]: ad clicks and the search queries they came from, 1:1, written as fast as memory goes.
//! - [`Example`]: payments and their orders, readings of sensors and their calibrations, for the folder `examples/`.
//!
//! Each has an oracle, `expected()`: one [`Expected`] for each record that the join log must accept.
//!
//! Invariant: event `i` is a function of the parameters and `i` alone, so that any part of a workload
//! can be made again without making what stands before it.

mod airports;
mod clicks;
mod contract;
mod draws;
mod event;
mod example;
mod expected;
mod ids;
mod json;
mod merge;
mod repeats;
mod share;
mod vacation;

pub use airports::{AIRPORTS, Airport, ELSEWHERE};
pub use clicks::{Clicks, ClicksParams};
pub use contract::{CLICKS, Join, PAYMENTS, SENSORS, Stream, VACATION};
pub use event::{Event, Expect, Side, Tally};
pub use example::{Example, ExampleParams};
pub use expected::Expected;
pub use share::{Share, ShareError};
pub use vacation::{Deal, Tweet, Vacation, VacationError, VacationParams};
