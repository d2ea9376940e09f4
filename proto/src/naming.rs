//! The names of our topics, groups and Redis keys, all derived from `join.name` (DESIGN §11).

use crate::PartitionId;

/// The join log's topic.
pub fn log_topic(name: &str) -> String {
    format!("{name}.joins")
}
/// The dead-letter topic.
pub fn dead_letter_topic(name: &str) -> String {
    format!("{name}.dead")
}
/// The retry topic that keeps events for so long: `1m`, `10m`, `1h`.
pub fn retry_topic(name: &str, delay: &str) -> String {
    format!("{name}.retry.{delay}")
}
/// The group that reads a retry topic. Several pipelines share it, whatever groups read the foreign topic for them: else each would park again what the
/// other has parked.
pub fn retry_group(name: &str, delay: &str) -> String {
    format!("{}.retry.{delay}", dispatcher_group(name))
}
/// The group whose positions in the join log follow it where there are no dead letters to carry.
pub fn dead_letter_group(name: &str) -> String {
    format!("{name}.dead")
}
/// The transactional id that the dead letters of a partition are written under.
pub fn dead_letter_transaction(name: &str, partition: PartitionId) -> String {
    format!("{name}.dead.{partition}")
}
/// The dispatcher's consumer group.
pub fn dispatcher_group(name: &str) -> String {
    format!("{name}.dispatcher")
}
/// The consumer group of joiners among which the primary topic's partitions are spread.
pub fn joiner_group(name: &str) -> String {
    format!("{name}.joiners")
}
/// The Redis stream of a partition's rows. The braces are Redis Cluster's hash tag.
pub fn redis_stream(name: &str, partition: PartitionId) -> String {
    format!("{name}:joined:{{{partition}}}")
}
/// The Redis key that says how many streams there are: more after a split than are configured.
pub fn redis_partitions_key(name: &str) -> String {
    format!("{name}:partitions")
}
/// The Redis key that names the log a stream was written from; same hash tag as the stream.
pub fn redis_log_key(name: &str, partition: PartitionId) -> String {
    format!("{name}:log:{{{partition}}}")
}
