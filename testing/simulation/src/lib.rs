//! The product in a world that is made up: every role's real code over a simulated Kafka, Redis, network, disk and clock, on one thread, from one seed.

mod apart;
mod check;
mod faults;
mod kafka;
mod ledger;
mod life;
pub mod machine;
pub mod mutants;
mod network;
mod operators;
pub mod plan;
mod process;
mod redis;
mod retries;
pub mod run;
mod trace;
mod workload;
mod world;

pub use check::Violation;

/// Its blocks cost half of what the C library's do.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
