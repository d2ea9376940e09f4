//! How a role starts, reports, waits and stops. Does not know what any role does.

pub mod crash;
pub mod grpc;
pub mod http;
pub mod listen;
pub mod logging;
pub mod metrics;
pub mod mutant;
mod readiness;
pub mod shutdown;
mod supervisor;
pub mod thread;

pub use readiness::{Component, Readiness};
pub use supervisor::Supervisor;
