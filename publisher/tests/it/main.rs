//! The publisher and its sinks, on a real Redis server and in memory, with a join log in memory.

mod common;
mod publishing;
mod redis;
mod shifting_proxy;
mod sinks;
mod test_log;
