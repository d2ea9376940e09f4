//! The one TOML: its keys, defaults, meanings and errors. Knows no role.
//!
//! The defaults stand in one annotated document, `defaults.toml`, which is also what `rtf config print` prints.

mod check;
mod error;
#[cfg(test)]
mod fuzz;
mod hosts;
mod layer;
mod load;
mod model;
mod print;
mod properties;
mod reference;
mod secret;
mod text;
mod units;
mod words;

pub use check::{Problem, Severity};
pub use error::ConfigError;
pub use model::{
    Admin, Cluster, ClusterTls, Column, Config, Dispatcher, Foreign, Isolation, Join, Joiner,
    Kafka, Layout, Match, Order, Place, Policy, Primary, Publisher, Redis, RedisKind, Registry,
    Sentinel, Telemetry, Tls, TopicChecks, Traces, Unmatched, Wait, Web, WebAuth, WebMap, ranges,
};
pub use secret::Secret;
pub use units::{Size, Span};
