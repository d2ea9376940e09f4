//! Replicas over librdkafka's mock cluster. Guarantees are claimed by the end-to-end tests on a real broker; these are quick.

mod damage;
mod replica;
mod support;
