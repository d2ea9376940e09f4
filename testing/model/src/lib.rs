//! The protocol in small models, each explored exhaustively within stated bounds by [stateright](https://www.stateright.rs).
//!
//! What is real and what is not:
//!
//! | model | the product's own code | abstracted |
//! |---|---|---|
//! | [`register`] | `apply` of the registry | the log is a list; a producer a set of records that get into it in any order, or never; sled two values that are saved together |
//! | [`publish`] | `Carry` of the publisher | the stream compares and appends as `append.lua` does, in one step; one connection keeps its order |
//! | [`split`] | `Lineage` and `apply` of the registry, `Layout` and `murmur2` of the proto | which steps a replica does, as `registry/src/split.rs` has them; nobody commits, and whoever dies reads all again |
//! | [`forget`] | `Age` and `apply` of the registry | one replica; a dispatcher registers one record of a partition after the other; nothing is parked |
//! | [`wake`] | none | the joiner's store is two numbers and a stamp; the locks are those of `joiner/src/partners.rs` |
//!
//! Not in any of them: time-outs by a clock (they happen whenever they can), more than the bounds say, the code around the pure functions. That is what
//! the simulation and the tests with real servers are for. Each model can be made wrong on purpose (its `Flaw`s), and tests show that each of these is found.
//! States are told apart by 64-bit hashes: two that collide would be taken for one, with a chance of about 1 in 10^6 at five million states.

pub mod explore;
pub mod forget;
pub mod publish;
pub mod register;
pub mod split;
pub mod wake;
