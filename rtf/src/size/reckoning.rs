//! The formulas: each role's share of a load, times what it costs. Pure.

use crate::human::{self, about};
use crate::size::costs::{self, Cost};
use crate::size::plan::{Figure, Inputs, Part};
use crate::size::waiting::Waiting;
use rtf_registry::{BUCKETS, MOST_PARTITIONS};

const MICRO: f64 = 1e-6;
const MIB: f64 = 1024.0 * 1024.0;
/// A merge writes before it deletes.
const ROOM_FOR_A_MERGE: f64 = 2.0;

/// What is reckoned with.
pub struct Reckoning<'a> {
    pub inputs: &'a Inputs,
    pub waiting: Waiting,
}

/// The joiners, and what of them Kafka feels.
pub struct Joiners {
    pub part: Part,
    pub partitioned: bool,
    /// How often each primary is read.
    pub copies: f64,
}

/// A number of processes, with what all of them together take.
struct Sum {
    name: &'static str,
    processes: f64,
    from: String,
    cores: (f64, String),
    memory: (f64, String),
    disk: Option<(f64, String)>,
    inwards: (f64, String),
    outwards: (f64, String),
}

impl Sum {
    fn part(self) -> Part {
        let figure = |(all, from)| Figure {
            all,
            each: all / self.processes,
            from,
        };
        Part {
            name: self.name,
            processes: self.processes as u64,
            from: self.from,
            cores: figure(self.cores),
            memory_bytes: figure(self.memory),
            disk_bytes: self.disk.map(figure),
            in_bytes_per_second: figure(self.inwards),
            out_bytes_per_second: figure(self.outwards),
        }
    }
}

impl Reckoning<'_> {
    fn events(&self) -> f64 {
        self.inputs.load.events_per_second
    }

    /// Bytes a second of events, of primaries, of rows.
    fn flows(&self) -> [f64; 3] {
        let load = &self.inputs.load;
        [
            load.events_per_second * load.event_bytes,
            load.primaries_per_second * load.primary_bytes,
            load.events_per_second * load.row_bytes,
        ]
    }

    fn replicas(&self) -> f64 {
        self.inputs.settings.replicas as f64
    }

    /// Cores to provide for this many a second that cost so much each, of so many bytes.
    fn cores(&self, a_second: f64, cost: (Cost, Cost), bytes: f64) -> f64 {
        let busy = a_second * costs::micros(cost, bytes) * MICRO;
        self.provided(busy)
    }

    fn provided(&self, busy: f64) -> f64 {
        busy / self.inputs.machine.busy
    }

    /// The fewest processes of which none takes more than a machine has.
    fn processes(&self, cores: f64, memory: f64, disk: f64) -> f64 {
        let machine = &self.inputs.machine;
        let most = (cores / machine.cores)
            .max(memory / machine.memory_bytes)
            .max(disk / machine.disk_bytes);
        most.ceil().max(1.0)
    }

    /// Of what is parked, in all dispatchers.
    fn parked_memory(&self) -> f64 {
        self.waiting.parked * costs::PARKED.value
    }

    /// Of what waits in the memory of a dispatcher.
    fn waiting_memory(&self) -> f64 {
        if self.inputs.load.late > 0.0 {
            self.inputs.settings.max_waiting_bytes
        } else {
            0.0
        }
    }

    fn dispatcher_cores(&self) -> f64 {
        let load = &self.inputs.load;
        // Late events are dispatched once more when their partner has come.
        let dispatched = load.events_per_second * (1.0 + load.late);
        self.cores(dispatched, costs::DISPATCH, load.event_bytes)
            + self.provided(self.waiting.parkings * costs::PARKING.value * MICRO)
    }

    pub fn dispatcher(&self) -> Part {
        let [events, ..] = self.flows();
        let cores = self.dispatcher_cores();
        let parked = self.parked_memory();
        let each = costs::DISPATCHER_MEMORY.value * MIB + self.waiting_memory();
        let by_rate = (self.events() / costs::DISPATCH_RATE.value).ceil();
        let room = (self.inputs.machine.memory_bytes - each).max(1.0);
        let processes = self
            .processes(cores, 0.0, 0.0)
            .max((parked / room).ceil())
            .max(by_rate)
            .max(self.replicas());
        let moved = self.waiting.parkings * self.inputs.load.event_bytes;
        Sum {
            name: "dispatcher",
            processes,
            from: format!(
                "at most {} events/s each; the foreign topic needs as many partitions",
                about(costs::DISPATCH_RATE.value)
            ),
            cores: (
                cores,
                format!(
                    "{} an event, late ones twice; {} µs each time one is parked ({}/s)",
                    each_time(costs::DISPATCH, self.inputs.load.event_bytes),
                    costs::PARKING.value,
                    about(self.waiting.parkings)
                ),
            ),
            memory: (
                processes * each + parked,
                format!(
                    "{} MiB, join.wait.max_bytes, and {} B for each of {} parked",
                    costs::DISPATCHER_MEMORY.value,
                    costs::PARKED.value,
                    about(self.waiting.parked)
                ),
            ),
            disk: None,
            inwards: (
                events + moved,
                "each event, and each time it was parked".into(),
            ),
            outwards: (events + moved, "the same, to joiners and to Kafka".into()),
        }
        .part()
    }

    fn join_cores(&self) -> f64 {
        self.cores(self.events(), costs::JOIN, self.inputs.load.row_bytes)
            + self.provided(self.waiting.in_vain * costs::ABSENT.value * MICRO)
    }

    fn load_cores(&self) -> f64 {
        let load = &self.inputs.load;
        self.cores(load.primaries_per_second, costs::LOAD, load.primary_bytes)
            + self.provided(load.primaries_per_second * costs::FLUSH.value * MICRO)
    }

    /// Disk of all primaries, once.
    fn primaries_disk(&self) -> f64 {
        let load = &self.inputs.load;
        load.primaries_kept * (load.primary_bytes + costs::PRIMARY_DISK.value) * ROOM_FOR_A_MERGE
    }

    /// Memory of processes that together hold all primaries.
    fn primaries_memory(&self, processes: f64) -> f64 {
        let load = &self.inputs.load;
        let whole = load.primaries_kept * (load.primary_bytes + costs::PRIMARY_MEMORY.value);
        let bound = processes * self.inputs.settings.joiner_memory;
        whole.min(bound) + load.primaries_kept * costs::PRIMARY_INDEX.value
    }

    /// How many joiners there are where each holds all primaries, if one can.
    fn joiners_of_all(&self) -> Option<f64> {
        let machine = &self.inputs.machine;
        let left = machine.cores - self.load_cores();
        let memory = costs::JOINER_MEMORY.value * MIB + self.primaries_memory(1.0);
        let fits = left > 0.0
            && self.inputs.load.primaries_per_second <= costs::LOAD_RATE.value
            && memory <= machine.memory_bytes
            && self.primaries_disk() <= machine.disk_bytes;
        let answering = (self.join_cores() / left).ceil();
        (fits && !self.inputs.settings.partitioned).then(|| answering.max(self.replicas()))
    }

    /// How many joiners share the primaries.
    fn joiners_of_shares(&self) -> f64 {
        let load = &self.inputs.load;
        // Memory for primaries is bounded in each; what is known of those on disk is not.
        let index = load.primaries_kept * costs::PRIMARY_INDEX.value;
        let bounded = costs::JOINER_MEMORY.value * MIB + self.inputs.settings.joiner_memory;
        let room = (self.inputs.machine.memory_bytes - bounded).max(1.0);
        let cores = self.load_cores() + self.join_cores();
        let needed = self
            .processes(cores, 0.0, self.primaries_disk())
            .max((index / room).ceil())
            .max((load.primaries_per_second / costs::LOAD_RATE.value).ceil());
        // One may die, and the others have its share then.
        (needed + 1.0).max(self.replicas())
    }

    pub fn joiners(&self) -> Joiners {
        let load = &self.inputs.load;
        let of_all = self.joiners_of_all();
        let partitioned = of_all.is_none();
        let (processes, copies, memory, from) = match of_all {
            Some(processes) => {
                let memory = processes * self.primaries_memory(1.0);
                let from = "layout = \"all\": each holds every primary".into();
                (processes, processes, memory, from)
            }
            None => {
                let processes = self.joiners_of_shares();
                let memory = self.primaries_memory(processes);
                let from = format!(
                    "layout = \"partitioned\": at most {} primaries/s each, and one to spare; the primary topic needs as many partitions",
                    about(costs::LOAD_RATE.value)
                );
                (processes, 1.0, memory, from)
            }
        };
        let [events, primaries, rows] = self.flows();
        let part = Sum {
            name: "joiner",
            processes,
            from,
            cores: (
                copies * self.load_cores() + self.join_cores(),
                format!(
                    "{} a primary, {} µs to flush and merge it, {} a join, {} µs a look-up in vain ({}/s)",
                    each_time(costs::LOAD, load.primary_bytes),
                    costs::FLUSH.value,
                    each_time(costs::JOIN, load.row_bytes),
                    costs::ABSENT.value,
                    about(self.waiting.in_vain)
                ),
            ),
            memory: (
                processes * costs::JOINER_MEMORY.value * MIB + memory,
                format!(
                    "{} MiB, joiner.memory, and {} B for each of {} primaries",
                    costs::JOINER_MEMORY.value,
                    costs::PRIMARY_INDEX.value,
                    about(load.primaries_kept)
                ),
            ),
            disk: Some((
                copies * self.primaries_disk(),
                format!(
                    "{} B beside a primary's bytes, twice: a merge writes before it deletes",
                    costs::PRIMARY_DISK.value
                ),
            )),
            inwards: (
                copies * primaries + events,
                "each primary, and each event".into(),
            ),
            outwards: (rows, "each row, to registries".into()),
        };
        Joiners {
            part: part.part(),
            partitioned,
            copies,
        }
    }

    fn registry_cores(&self) -> f64 {
        self.cores(self.events(), costs::REGISTER, self.inputs.load.row_bytes)
    }

    /// Ids in a newest bucket, and in sealed ones.
    fn ids(&self) -> (f64, f64) {
        let of_horizon = self.events() * self.inputs.load.horizon.as_secs_f64();
        // One more of the newest kind is there while it is sealed.
        (2.0 * of_horizon / f64::from(BUCKETS), of_horizon)
    }

    /// Memory and disk of all ids, once.
    fn ids_bytes(&self) -> (f64, f64) {
        let (hot, sealed) = self.ids();
        (
            hot * costs::HOT_MEMORY.value + sealed * costs::SEALED_MEMORY.value,
            hot * costs::HOT_DISK.value + sealed * costs::SEALED_DISK.value,
        )
    }

    /// Parts of the log that each have registries of their own.
    pub fn registry_parts(&self) -> u32 {
        let (memory, disk) = self.ids_bytes();
        let by_rate = self.events() / costs::APPLY_RATE.value;
        let base = costs::REGISTRY_MEMORY.value * MIB;
        let room = (self.inputs.machine.memory_bytes - base).max(1.0);
        let parts = self
            .processes(self.registry_cores(), 0.0, disk)
            .max(memory / room)
            .max(by_rate);
        whole_power_of_two(parts).min(MOST_PARTITIONS)
    }

    pub fn registry(&self, parts: u32) -> Part {
        let (hot, sealed) = self.ids();
        let (memory, disk) = self.ids_bytes();
        let copies = self.replicas();
        let processes = copies * f64::from(parts);
        let [.., rows] = self.flows();
        let log = self.log_bytes_per_second();
        let from = match parts {
            1 => format!("{copies} that each serve all of the log"),
            _ => format!("{copies} for each of {parts} parts of the log (registry.serves)"),
        };
        Sum {
            name: "registry",
            processes,
            from,
            cores: (
                copies * self.registry_cores(),
                format!(
                    "{} a row, in each that serves it",
                    each_time(costs::REGISTER, self.inputs.load.row_bytes)
                ),
            ),
            memory: (
                processes * costs::REGISTRY_MEMORY.value * MIB + copies * memory,
                format!(
                    "{} B an id in the newest bucket and in one being sealed ({}), {} B in sealed ones ({})",
                    costs::HOT_MEMORY.value,
                    about(hot),
                    costs::SEALED_MEMORY.value,
                    about(sealed)
                ),
            ),
            disk: Some((
                copies * disk,
                format!(
                    "{} B an id in those buckets, {} B in sealed ones",
                    costs::HOT_DISK.value,
                    costs::SEALED_DISK.value
                ),
            )),
            inwards: (rows + copies * log, "each row, and the log's tail".into()),
            outwards: (
                log + self.replicas() * rows,
                "the log, and each row to every publisher".into(),
            ),
        }
        .part()
    }

    fn publisher_cores(&self) -> f64 {
        self.cores(self.events(), costs::PUBLISH, self.inputs.load.row_bytes)
    }

    pub fn publisher(&self) -> Part {
        let processes = self.replicas();
        let [.., rows] = self.flows();
        Sum {
            name: "publisher",
            processes,
            from: "each may have to carry every row; while both live they share them".into(),
            cores: (
                processes * self.publisher_cores(),
                format!(
                    "{} a row, in each",
                    each_time(costs::PUBLISH, self.inputs.load.row_bytes)
                ),
            ),
            memory: (
                processes * costs::PUBLISHER_MEMORY.value * MIB,
                format!("{} MiB", costs::PUBLISHER_MEMORY.value),
            ),
            disk: None,
            inwards: (processes * rows, "each row, in each".into()),
            outwards: (processes * rows, "each row, to Redis".into()),
        }
        .part()
    }

    pub fn redis(&self) -> Part {
        let load = &self.inputs.load;
        let settings = &self.inputs.settings;
        let cores = self.cores(self.events(), costs::REDIS, load.row_bytes);
        let [.., rows] = self.flows();
        let (once, byte) = costs::REDIS_MEMORY;
        let row = once.value + byte.value * load.row_bytes;
        let retained = self.events() * settings.kafka_retention.as_secs_f64();
        let partitions = f64::from(self.wanted_partitions());
        let (kept, from) = if settings.max_rows > 0.0 {
            let bound = settings.max_rows * partitions;
            (bound.min(retained), "redis.max_rows a partition")
        } else {
            (
                retained,
                "what the log keeps, and more: redis.max_rows = 0 trims nothing",
            )
        };
        let memory = kept * row;
        // Redis does its work on one thread.
        let processes = cores.max(memory / self.inputs.machine.memory_bytes);
        Sum {
            name: "Redis",
            processes: processes.ceil().max(1.0),
            from: "primaries, of one thread each; more than one are a Redis Cluster".into(),
            cores: (
                cores,
                format!("{} a row", each_time(costs::REDIS, load.row_bytes)),
            ),
            memory: (
                memory,
                format!("{row:.0} B a row, {} rows: {from}", about(kept)),
            ),
            disk: None,
            inwards: (rows, "each row".into()),
            outwards: (0.0, "what the page and others read is theirs to add".into()),
        }
        .part()
    }

    fn log_bytes_per_second(&self) -> f64 {
        self.events() * (self.inputs.load.row_bytes + costs::LOG_BESIDE.value)
    }

    /// By the rate alone.
    fn wanted_partitions(&self) -> u32 {
        let settings = &self.inputs.settings;
        let wanted = self.events() / costs::PARTITION_RATE.value;
        // A log is split into a multiple of what it has.
        let times = whole_power_of_two(wanted / f64::from(settings.partitions));
        settings
            .partitions
            .saturating_mul(times)
            .min(MOST_PARTITIONS)
    }

    /// Partitions of the log, and what they follow from.
    pub fn partitions(&self, parts: u32, redis: u64) -> (u32, String) {
        let settings = &self.inputs.settings;
        let by_rate = self.wanted_partitions();
        let mut partitions = by_rate;
        while partitions < MOST_PARTITIONS && (partitions < parts || u64::from(partitions) < redis)
        {
            partitions = partitions.saturating_mul(2).min(MOST_PARTITIONS);
        }
        let from = if partitions == settings.partitions {
            "registry.partitions".into()
        } else if partitions == by_rate {
            format!(
                "at most {} rows/s each; registry.partitions times a power of two",
                about(costs::PARTITION_RATE.value)
            )
        } else {
            "one for each part of the log and each Redis at the least".into()
        };
        (partitions, from)
    }

    pub fn kafka(&self, joiners: &Joiners) -> Part {
        let (load, settings) = (&self.inputs.load, &self.inputs.settings);
        let copies = settings.replication as f64;
        let log = self.log_bytes_per_second();
        let parked = self.waiting.parkings * load.event_bytes;
        let cores = copies
            * self.cores(
                self.events() + self.waiting.parkings,
                costs::KAFKA,
                load.row_bytes,
            );
        let disk = copies * (log + parked) * settings.kafka_retention.as_secs_f64();
        let brokers = self.processes(cores, 0.0, disk).max(copies);
        let [events, primaries, _] = self.flows();
        let read = events + joiners.copies * primaries;
        Sum {
            name: "Kafka",
            processes: brokers,
            from: format!("brokers; {copies} copies"),
            cores: (
                cores,
                format!(
                    "{} a row, each copy counted as much; without the producers of both inputs",
                    each_time(costs::KAFKA, load.row_bytes)
                ),
            ),
            memory: (
                brokers * costs::KAFKA_HEAP.value * MIB,
                "the heap that was measured with; what is left is page cache".into(),
            ),
            disk: Some((
                disk,
                format!(
                    "{} B beside a row's originals in the join log, {} copies, kept {}",
                    costs::LOG_BESIDE.value,
                    copies,
                    human::span(
                        i64::try_from(settings.kafka_retention.as_millis()).unwrap_or(i64::MAX)
                    )
                ),
            )),
            inwards: (
                copies * (log + parked),
                "join log and retry topics, with the copying".into(),
            ),
            outwards: (
                (copies - 1.0) * (log + parked) + parked + self.replicas() * log + read,
                "the copying, the log to each registry, both inputs to their readers".into(),
            ),
        }
        .part()
    }

    /// All roles in one process, where rates, cores, memory and disk allow it.
    pub fn all_in_one(&self) -> Option<Part> {
        let (load, machine) = (&self.inputs.load, &self.inputs.machine);
        let cores = costs::TOGETHER.value
            * (self.dispatcher_cores()
                + self.load_cores()
                + self.join_cores()
                + self.registry_cores()
                + self.publisher_cores());
        let (ids_memory, ids_disk) = self.ids_bytes();
        let disk = ids_disk + self.primaries_disk();
        let base = [
            costs::DISPATCHER_MEMORY,
            costs::JOINER_MEMORY,
            costs::REGISTRY_MEMORY,
            costs::PUBLISHER_MEMORY,
        ];
        let base: f64 = base.iter().map(|role| role.value * MIB).sum();
        let memory = base
            + self.waiting_memory()
            + ids_memory
            + self.parked_memory()
            + self.primaries_memory(1.0);
        let [events, primaries, rows] = self.flows();
        let fits = cores <= machine.cores
            && memory <= machine.memory_bytes
            && disk <= machine.disk_bytes
            && self.events() <= costs::PUBLISH_RATE.value
            && load.primaries_per_second <= costs::LOAD_RATE.value;
        let log = self.log_bytes_per_second();
        fits.then(|| {
            Sum {
                name: "rtf run",
                processes: 1.0,
                from: "all roles in one process, instead of those below".into(),
                cores: (
                    cores,
                    format!("{} × the sum of the roles: no gRPC", costs::TOGETHER.value),
                ),
                memory: (memory, "the sum of the roles".into()),
                disk: Some((disk, "registry and joiner".into())),
                inwards: (
                    events + primaries + log,
                    "both inputs, and the log's tail".into(),
                ),
                outwards: (log + rows, "the log, and each row to Redis".into()),
            }
            .part()
        })
    }

    /// What to know before it is believed.
    pub fn notes(&self, parts: u32, partitions: u32, partitioned: bool) -> Vec<String> {
        let (load, settings) = (&self.inputs.load, &self.inputs.settings);
        let mut notes = vec![format!(
            "Reckoned from what two cores of a virtual machine showed; cores are to be {:.0} % busy. How far off it was: docs/sizing.md",
            100.0 * self.inputs.machine.busy
        )];
        let mut note = |is_so: bool, words: String| {
            if is_so {
                notes.push(words);
            }
        };
        note(
            self.events() > costs::PUBLISH_RATE.value,
            format!(
                "A publisher that is left alone carries every row. More than {} rows/s through one were never measured",
                about(costs::PUBLISH_RATE.value)
            ),
        );
        note(
            self.publisher_cores() > self.inputs.machine.cores,
            "A publisher needs more cores than a machine has, and cannot be shared: several pipelines, each with a part of the input".into(),
        );
        note(
            partitioned && !settings.partitioned,
            "Joiners must share the primary topic: joiner.layout = \"partitioned\", with the join key as message key".into(),
        );
        note(
            parts > settings.partitions,
            format!(
                "registry.serves names partitions that the log began with: make it with {parts} or more, a split does not help there"
            ),
        );
        note(
            partitions > settings.partitions,
            format!(
                "The join log needs more partitions than registry.partitions = {}: make it with {partitions}, or `rtf registry split --partitions {partitions}`",
                settings.partitions
            ),
        );
        note(
            partitions == MOST_PARTITIONS
                && self.events() / costs::PARTITION_RATE.value > f64::from(MOST_PARTITIONS),
            format!(
                "The join log cannot have more than {MOST_PARTITIONS} partitions, and would need them"
            ),
        );
        note(
            load.horizon < 2 * settings.max_wait,
            format!(
                "A horizon of {} wants join.wait.max to be at most half of it",
                human::span(i64::try_from(load.horizon.as_millis()).unwrap_or(i64::MAX))
            ),
        );
        notes
    }
}

/// What something of so many bytes costs each time.
fn each_time(cost: (Cost, Cost), bytes: f64) -> String {
    format!("{:.1} µs", costs::micros(cost, bytes))
}

/// The smallest power of two that is not less.
fn whole_power_of_two(number: f64) -> u32 {
    // More than a log can be split into is cut by the caller.
    let whole = number.ceil().clamp(1.0, f64::from(MOST_PARTITIONS)) as u32;
    whole.next_power_of_two()
}
