//! What must hold of every plan, how far off it was where it was measured, and that docs/sizing.md says the same.

use crate::cli::{Cli, Command};
use crate::size::costs::{self, Cost};
use crate::size::plan::{Figure, Inputs, Part, Plan};
use crate::size::report;
use clap::Parser;
use rtf_config::Config;

const DOCUMENT: &str = include_str!("../../../docs/sizing.md");

fn inputs(flags: &str) -> Inputs {
    try_inputs(flags, "").expect("flags that are accepted")
}

fn try_inputs(flags: &str, configuration: &str) -> anyhow::Result<Inputs> {
    let line = format!("rtf size {flags}");
    let Command::Size(args) = Cli::try_parse_from(line.split_whitespace())?.command else {
        panic!("{line}")
    };
    args.with(&Config::from_toml(configuration)?)
}

fn figures(part: &Part) -> Vec<f64> {
    let figures = [
        Some(&part.cores),
        Some(&part.memory_bytes),
        part.disk_bytes.as_ref(),
        Some(&part.in_bytes_per_second),
        Some(&part.out_bytes_per_second),
    ];
    let all = figures
        .into_iter()
        .flatten()
        .map(|figure: &Figure| figure.all);
    std::iter::once(part.processes as f64).chain(all).collect()
}

/// Nothing but rounding in the last digits makes it less.
fn is_less(a: &[f64], b: &[f64]) -> bool {
    a.iter().zip(b).any(|(a, b)| a * (1.0 + 1e-9) < *b)
}

/// When joiners begin to share the primary topic they no longer hold everything twice.
#[test]
fn more_events_never_take_fewer_of_anything() {
    for (flags, configuration) in [
        ("", ""),
        ("--late 50% --wait 2h", ""),
        ("--primaries-per-second 1000 --horizon 6h", ""),
        ("--primaries-kept 1000", "joiner.layout = \"partitioned\""),
    ] {
        let of = |rate: f64| {
            let flags = format!("--events-per-second {rate} {flags}");
            Plan::of(&try_inputs(&flags, configuration).expect("flags that are accepted"))
        };
        let rates = (0..60).map(|step| 10.0 * 1.3_f64.powi(step));
        let plans: Vec<Plan> = rates.map(of).collect();
        for (fewer, more) in plans.iter().zip(&plans[1..]) {
            assert!(more.partitions >= fewer.partitions, "{flags}");
            assert!(
                fewer.all_in_one.is_some() || more.all_in_one.is_none(),
                "{flags}"
            );
            let same_layout = fewer.partitioned == more.partitioned;
            let parts = |plan: &Plan| {
                let servers = [plan.kafka.clone(), plan.redis.clone()];
                plan.roles
                    .iter()
                    .cloned()
                    .chain(servers)
                    .collect::<Vec<_>>()
            };
            for (fewer, more) in parts(fewer).iter().zip(&parts(more)) {
                let is_affected = ["joiner", "Kafka"].contains(&more.name);
                if same_layout || !is_affected {
                    let (fewer, more) = (figures(fewer), figures(more));
                    assert!(!is_less(&more, &fewer), "{flags}: {fewer:?} {more:?}");
                }
            }
        }
    }
}

#[test]
fn no_process_needs_more_than_a_machine_has() {
    for rate in [1_000.0, 100_000.0, 1_000_000.0] {
        let inputs = inputs(&format!("--events-per-second {rate} --horizon 2d"));
        let plan = Plan::of(&inputs);
        for part in plan
            .all_in_one
            .iter()
            .chain(&plan.roles)
            .chain([&plan.kafka, &plan.redis])
        {
            // One publisher carries all rows, and a note says so.
            if part.name != "publisher" {
                assert!(part.cores.each <= inputs.machine.cores, "{part:?}");
            }
            assert!(
                part.memory_bytes.each <= inputs.machine.memory_bytes,
                "{part:?}"
            );
            let disk = part.disk_bytes.as_ref().map_or(0.0, |disk| disk.each);
            assert!(disk <= inputs.machine.disk_bytes, "{part:?}");
        }
    }
}

#[test]
fn a_small_load_fits_into_one_process_and_the_partitions_there_are() {
    let plan = Plan::of(&inputs("--events-per-second 1000"));
    assert!(plan.all_in_one.is_some() && !plan.partitioned);
    assert_eq!((plan.partitions, plan.redis.processes), (16, 1));
    assert!(plan.roles.iter().all(|role| role.processes == 2));
}

#[test]
fn longer_waits_and_horizons_take_more() {
    let plan = |flags: &str| Plan::of(&inputs(&format!("--events-per-second 50000 {flags}")));
    let (short, long) = (plan("--wait 5s"), plan("--wait 30m"));
    assert!(long.roles[0].memory_bytes.all > short.roles[0].memory_bytes.all);
    assert!(long.kafka.disk_bytes.unwrap().all > short.kafka.disk_bytes.unwrap().all);
    let (short, long) = (plan("--horizon 1h"), plan("--horizon 2h"));
    assert!(long.roles[2].memory_bytes.all > short.roles[2].memory_bytes.all);
}

#[test]
fn what_does_not_go_together_is_refused() {
    for flags in [
        "",
        "--events-per-second many",
        "--events-per-second 1 --busy 0",
        "--events-per-second 1 --late 200%",
        "--events-per-second 1 --primaries-kept soon",
        "--events-per-second 1 --memory-per-machine 64",
        "--events-per-second 1 --horizon 1d --kafka-retention 1d",
    ] {
        assert!(try_inputs(flags, "").is_err(), "{flags}");
    }
    let inputs = inputs("--events-per-second 1_000,000 --primaries-kept 20 --row-bytes 900");
    assert_eq!(inputs.load.events_per_second, 1e6);
    assert_eq!(
        (inputs.load.primaries_kept, inputs.load.row_bytes),
        (20.0, 900.0)
    );
}

#[test]
fn programs_find_every_figure() {
    let inputs = inputs("--events-per-second 1000");
    let json = report::json(&inputs, &Plan::of(&inputs));
    for pointer in [
        "/inputs/load/events_per_second",
        "/inputs/settings/kafka_retention",
        "/inputs/machine/busy",
        "/plan/partitions",
        "/plan/partitioned",
        "/plan/all_in_one/cores/all",
        "/plan/roles/0/processes",
        "/plan/roles/1/disk_bytes/each",
        "/plan/roles/2/memory_bytes/from",
        "/plan/roles/3/out_bytes_per_second/all",
        "/plan/kafka/disk_bytes/all",
        "/plan/redis/memory_bytes/all",
        "/plan/notes/0",
    ] {
        assert!(json.pointer(pointer).is_some(), "{pointer}");
    }
    let names: Vec<_> = (0..4)
        .map(|at| &json["plan"]["roles"][at]["name"])
        .collect();
    assert_eq!(names, ["dispatcher", "joiner", "registry", "publisher"]);
}

fn assert_documented(text: &str) {
    assert!(DOCUMENT.contains(text), "docs/sizing.md has not:\n{text}");
}

#[test]
fn the_documents_example_is_what_is_printed() {
    let inputs = inputs("--events-per-second 1000000");
    let text = report::text(&inputs, &Plan::of(&inputs));
    assert_documented(&format!("```\n{}\n```", text.trim_end()));
}

#[test]
fn the_documents_costs_are_those_that_are_reckoned_with() {
    let row = |Cost {
                   value,
                   unit,
                   what,
                   source,
               }: &Cost| { format!("| {what} | {value} {unit} | {source} |\n") };
    assert_documented(&costs::ALL.iter().map(row).collect::<String>());
    let performance = include_str!("../../../docs/performance.md");
    for Cost { source, .. } in costs::ALL {
        let is_there = performance
            .lines()
            .any(|line| line.starts_with(&format!("## {source}")));
        assert!(is_there, "{source}");
    }
}

const MIB: f64 = 1024.0 * 1024.0;

/// Something that was measured elsewhere than where the costs are from.
struct Point {
    run: &'static str,
    what: &'static str,
    reckoned: f64,
    measured: f64,
}

impl Point {
    fn error(&self) -> f64 {
        100.0 * (self.reckoned / self.measured - 1.0)
    }

    fn row(&self) -> String {
        let Self {
            run,
            what,
            reckoned,
            measured,
        } = self;
        let digits = usize::from(*measured < 100.0) + usize::from(*measured < 1.0);
        format!(
            "| {run} | {what} | {reckoned:.digits$} | {measured:.digits$} | {:+.0} % |\n",
            self.error()
        )
    }
}

fn points() -> Vec<Point> {
    let point = |run| {
        move |what, reckoned, measured| Point {
            run,
            what,
            reckoned,
            measured,
        }
    };
    let longer = point("1");
    let (event, row) = (795.0, 2.0 * 795.0);
    let whole = point("2");
    let (query, pair) = (290.0, 2.0 * 290.0);
    let roles = [
        costs::DISPATCHER_MEMORY,
        costs::JOINER_MEMORY,
        costs::REGISTRY_MEMORY,
        costs::PUBLISHER_MEMORY,
    ];
    let bases: f64 = roles.iter().map(|role| role.value).sum();
    let primaries = |bytes: f64| bytes + costs::PRIMARY_MEMORY.value + costs::PRIMARY_INDEX.value;
    let ids = point("3");
    let store = |memory: f64, primaries: f64| {
        costs::JOINER_MEMORY.value + memory + primaries * costs::PRIMARY_INDEX.value / MIB
    };
    let (few, many) = (point("4"), point("5"));
    let redis = |row: f64| costs::REDIS_MEMORY.0.value + costs::REDIS_MEMORY.1.value * row;
    vec![
        longer(
            "dispatcher, CPU s a million",
            costs::micros(costs::DISPATCH, event),
            9.4,
        ),
        longer(
            "joiner, CPU s a million primaries",
            costs::micros(costs::LOAD, event),
            4.8,
        ),
        longer(
            "joiner, CPU s a million joins",
            costs::micros(costs::JOIN, row),
            7.2,
        ),
        longer(
            "registry, CPU s a million",
            costs::micros(costs::REGISTER, row),
            25.9,
        ),
        longer(
            "publisher, CPU s a million",
            costs::micros(costs::PUBLISH, row),
            9.6,
        ),
        longer(
            "Kafka, CPU s a million",
            costs::micros(costs::KAFKA, row),
            35.3,
        ),
        longer(
            "Redis, CPU s a million",
            costs::micros(costs::REDIS, row),
            12.0,
        ),
        longer("join log, B a row", row + costs::LOG_BESIDE.value, 1879.0),
        longer("Redis, B a row", redis(row), 2077.0),
        longer(
            "joiner, B of disk a primary",
            event + costs::PRIMARY_DISK.value,
            848.0,
        ),
        longer(
            "joiner, MiB at the most",
            costs::JOINER_MEMORY.value + 200_000.0 * primaries(event) / MIB,
            323.0,
        ),
        longer(
            "registry, B of disk an id in the newest bucket",
            costs::HOT_DISK.value,
            84.0,
        ),
        whole(
            "Kafka, CPU s a million (8.8–12.8)",
            costs::micros(costs::KAFKA, pair),
            10.8,
        ),
        whole(
            "Redis, CPU s a million",
            costs::micros(costs::REDIS, pair),
            6.9,
        ),
        whole(
            "join log, B a row (93 KB / 105)",
            pair + costs::LOG_BESIDE.value,
            886.0,
        ),
        whole(
            "rtf run, MiB at the most",
            bases + 1e6 * (primaries(query) + costs::HOT_MEMORY.value) / MIB,
            967.0,
        ),
        ids(
            "registry, B of disk an id in the newest bucket",
            costs::HOT_DISK.value,
            70.8,
        ),
        ids(
            "registry, B of disk an id in sealed buckets",
            costs::SEALED_DISK.value,
            25.4,
        ),
        ids(
            "registry, B of memory an id in sealed buckets",
            costs::SEALED_MEMORY.value,
            2.48,
        ),
        few(
            "joiner, B of disk a primary",
            271.0 + costs::PRIMARY_DISK.value,
            322.0,
        ),
        few("joiner, MiB at the most", store(128.0, 4e6), 285.0),
        many("joiner, MiB at the most", store(512.0, 20e6), 712.0),
    ]
}

/// Short by less than a third, which `--busy` leaves.
#[test]
fn the_documents_errors_are_those_of_these_costs() {
    for point in points() {
        let error = point.error();
        assert!((-30.0..120.0).contains(&error), "{}", point.row());
    }
    let rows: String = points().iter().map(Point::row).collect();
    assert_documented(&rows);
}
