//! Real servers and real processes for the end-to-end tests and the bench: Apache Kafka, Redis and the `rtf`
//! binary, each on free ports, in a folder of its own, gone when its value is dropped. It knows how to
//! start, hurt and stop them; what they should have done is for the tests to say.
//!
//! Set `RTF_KEEP=1` to keep the folders, with the servers' logs and data, for a look afterwards.

mod binary;
mod folder;
pub mod http;
mod kafka;
mod port;
mod process;
mod redis;
mod server;
mod spawner;
mod wait;

pub use binary::rtf_binary;
pub use folder::temp_folder;
pub use kafka::{Kafka, KafkaOptions};
pub use port::free_port;
pub use process::Process;
pub use redis::{Redis, RedisOptions};
pub use wait::wait_until;
