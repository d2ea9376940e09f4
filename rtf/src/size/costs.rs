//! What things cost, as measured: the only place with figures. Knows no load.
//!
//! Each source is a section of docs/performance.md, where it says how it was measured. docs/sizing.md has the same table; a test compares them.

/// A measured figure.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(
    not(test),
    expect(
        dead_code,
        reason = "where a figure comes from is for its reader, and for the test of docs/sizing.md"
    )
)]
pub struct Cost {
    pub value: f64,
    pub unit: &'static str,
    pub what: &'static str,
    /// The section of docs/performance.md.
    pub source: &'static str,
}

const fn cost(value: f64, unit: &'static str, what: &'static str, source: &'static str) -> Cost {
    Cost {
        value,
        unit,
        what,
        source,
    }
}

/// CPU µs that something of so many bytes costs each time.
pub fn micros((once, byte): (Cost, Cost), bytes: f64) -> f64 {
    once.value + byte.value * bytes / 1000.0
}

const APART: &str = "Each role in a process of its own";
const IDS: &str = "Remembering ids";
const PRIMARIES: &str = "Primaries that memory cannot hold";
const WAITING: &str = "Waiting";
const PARTS: &str = "Parts, measured alone";
const AGAIN: &str = "Reading it again";

/// What is paid once, and what for each byte.
pub const DISPATCH: (Cost, Cost) = (
    cost(5.28, "µs", "dispatcher: an event", APART),
    cost(4.13, "ns", "dispatcher: each byte of an event", APART),
);
pub const LOAD: (Cost, Cost) = (
    cost(2.38, "µs", "joiner: a primary read", APART),
    cost(3.47, "ns", "joiner: each byte of a primary", APART),
);
pub const JOIN: (Cost, Cost) = (
    cost(3.04, "µs", "joiner: a join", APART),
    cost(2.13, "ns", "joiner: each byte of a row's originals", APART),
);
pub const REGISTER: (Cost, Cost) = (
    cost(
        8.16,
        "µs",
        "registry: a row appended, read back, applied and handed on",
        APART,
    ),
    cost(7.7, "ns", "registry: each byte of a row's originals", APART),
);
pub const PUBLISH: (Cost, Cost) = (
    cost(2.59, "µs", "publisher: a row", APART),
    cost(
        3.07,
        "ns",
        "publisher: each byte of a row's originals",
        APART,
    ),
);
pub const KAFKA: (Cost, Cost) = (
    cost(19.15, "µs", "Kafka: a row, with both inputs read", APART),
    cost(7.2, "ns", "Kafka: each byte of a row's originals", APART),
);
pub const REDIS: (Cost, Cost) = (
    cost(2.6, "µs", "Redis: a row", APART),
    cost(3.9, "ns", "Redis: each byte of a row's originals", APART),
);
pub const PARTITION_RATE: Cost = cost(
    30_000.0,
    "rows/s",
    "join log: the most that one partition was seen to carry",
    APART,
);
pub const LOG_BESIDE: Cost = cost(
    290.0,
    "B",
    "join log: a record beside the row's originals",
    APART,
);
pub const REDIS_MEMORY: (Cost, Cost) = (
    cost(273.0, "B", "Redis: memory for a row", APART),
    cost(
        1.08,
        "B",
        "Redis: memory for each byte of a row's originals",
        APART,
    ),
);
pub const DISPATCHER_MEMORY: Cost = cost(
    151.0,
    "MiB",
    "dispatcher: memory while nothing waits",
    APART,
);
pub const JOINER_MEMORY: Cost = cost(185.0, "MiB", "joiner: memory beside its primaries", APART);
pub const REGISTRY_MEMORY: Cost = cost(394.0, "MiB", "registry: memory beside its ids", APART);
pub const PUBLISHER_MEMORY: Cost = cost(206.0, "MiB", "publisher: memory", APART);
pub const KAFKA_HEAP: Cost = cost(1024.0, "MiB", "Kafka: the heap it had", APART);

pub const HOT_MEMORY: Cost = cost(
    15.2,
    "B",
    "registry: memory for an id in the newest bucket",
    IDS,
);
pub const HOT_DISK: Cost = cost(
    68.7,
    "B",
    "registry: disk for an id in the newest bucket",
    IDS,
);
pub const SEALED_MEMORY: Cost = cost(
    2.42,
    "B",
    "registry: memory for an id in a sealed bucket",
    IDS,
);
pub const SEALED_DISK: Cost = cost(
    25.4,
    "B",
    "registry: disk for an id in a sealed bucket",
    IDS,
);
pub const APPLY_RATE: Cost = cost(
    997_000.0,
    "ids/s",
    "registry: the most that one was seen to apply",
    IDS,
);

pub const PRIMARY_MEMORY: Cost = cost(
    187.0,
    "B",
    "joiner: memory for a primary beside its bytes, while all fit",
    PARTS,
);
/// 5.6 µs with all of it, less 1.1 for the making and 1.4 for parsing and inserting.
pub const FLUSH: Cost = cost(3.1, "µs", "joiner: a primary flushed and merged", PRIMARIES);
pub const PRIMARY_INDEX: Cost = cost(3.83, "B", "joiner: memory for a primary on disk", PRIMARIES);
pub const PRIMARY_DISK: Cost = cost(
    54.0,
    "B",
    "joiner: disk for a primary beside its bytes",
    PRIMARIES,
);
pub const ABSENT: Cost = cost(4.9, "µs", "joiner: a look-up in vain", PRIMARIES);
pub const LOAD_RATE: Cost = cost(
    190_000.0,
    "primaries/s",
    "joiner: the most that one was seen to load",
    PRIMARIES,
);

pub const PARKED: Cost = cost(62.5, "B", "dispatcher: memory for a parked event", WAITING);
pub const PARKING: Cost = cost(30.0, "µs", "dispatcher: an event parked", WAITING);
pub const DISPATCH_RATE: Cost = cost(
    278_000.0,
    "events/s",
    "dispatcher: the most that one was seen to read",
    AGAIN,
);
pub const PUBLISH_RATE: Cost = cost(
    161_000.0,
    "rows/s",
    "publisher: the most that one was seen to carry, with one Redis",
    PARTS,
);

/// `rtf run` took 18.4 µs a pair where roles apart took 31.3.
pub const TOGETHER: Cost = cost(
    0.59,
    "×",
    "rtf run: cores of the roles, without gRPC between them",
    "Where the time goes",
);

/// All of them, in the order of docs/sizing.md.
#[cfg(test)]
pub const ALL: [Cost; 39] = [
    DISPATCH.0,
    DISPATCH.1,
    PARKING,
    PARKED,
    DISPATCH_RATE,
    DISPATCHER_MEMORY,
    LOAD.0,
    LOAD.1,
    JOIN.0,
    JOIN.1,
    ABSENT,
    LOAD_RATE,
    JOINER_MEMORY,
    PRIMARY_MEMORY,
    FLUSH,
    PRIMARY_INDEX,
    PRIMARY_DISK,
    REGISTER.0,
    REGISTER.1,
    HOT_MEMORY,
    HOT_DISK,
    SEALED_MEMORY,
    SEALED_DISK,
    APPLY_RATE,
    REGISTRY_MEMORY,
    PUBLISH.0,
    PUBLISH.1,
    PUBLISH_RATE,
    PUBLISHER_MEMORY,
    KAFKA.0,
    KAFKA.1,
    PARTITION_RATE,
    LOG_BESIDE,
    KAFKA_HEAP,
    REDIS.0,
    REDIS.1,
    REDIS_MEMORY.0,
    REDIS_MEMORY.1,
    TOGETHER,
];
