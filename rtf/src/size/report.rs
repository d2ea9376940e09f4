//! A plan for people, and for programs.

use crate::human::{self, about};
use crate::size::plan::{Figure, Inputs, Part, Plan};
use crate::table::{Align, Table};
use serde_json::{Value, json};

/// All of it.
pub fn json(inputs: &Inputs, plan: &Plan) -> Value {
    json!({ "inputs": inputs, "plan": plan })
}

/// A row for each figure, with what it follows from.
pub fn text(inputs: &Inputs, plan: &Plan) -> String {
    let mut table = Table::new(&[
        ("PART", Align::Left),
        ("NEEDS", Align::Left),
        ("EACH", Align::Right),
        ("ALL", Align::Right),
        ("FROM", Align::Left),
    ]);
    for part in plan.all_in_one.iter().chain(&plan.roles) {
        rows(&mut table, part, "processes");
    }
    table.row(
        [
            "join log",
            "partitions",
            "",
            &human::count(plan.partitions.into()),
            &plan.partitions_from,
        ]
        .map(str::to_owned)
        .into(),
    );
    rows(&mut table, &plan.kafka, "brokers");
    rows(&mut table, &plan.redis, "servers");
    let notes = plan.notes.iter().map(|note| format!("- {note}.\n"));
    format!(
        "{}\n\n{table}\n{}",
        headline(inputs),
        notes.collect::<String>()
    )
}

fn headline(inputs: &Inputs) -> String {
    let load = &inputs.load;
    format!(
        "{} events/s of {} B and {} primaries/s of {} B; {:.1} % of the events wait {} for their partner;\n\
        ids are remembered for {}, {} primaries are kept",
        about(load.events_per_second),
        about(load.event_bytes),
        about(load.primaries_per_second),
        about(load.primary_bytes),
        100.0 * load.late,
        rtf_config::Span(load.wait),
        rtf_config::Span(load.horizon),
        about(load.primaries_kept),
    )
}

fn rows(table: &mut Table, part: &Part, processes: &str) {
    let mut row = |name: &str, needs: &str, each: String, all: String, from: &str| {
        let texts = [name, needs, &each, &all, from];
        table.row(texts.map(str::to_owned).into());
    };
    let all = human::count(part.processes);
    row(part.name, processes, String::new(), all, &part.from);
    let mut figure = |needs: &str, figure: &Figure, shown: &dyn Fn(f64) -> String| {
        row(
            "",
            needs,
            shown(figure.each),
            shown(figure.all),
            &figure.from,
        );
    };
    figure("cores", &part.cores, &|cores| format!("{cores:.1}"));
    figure("memory", &part.memory_bytes, &bytes);
    if let Some(disk) = &part.disk_bytes {
        figure("disk", disk, &bytes);
    }
    figure("in", &part.in_bytes_per_second, &flow);
    figure("out", &part.out_bytes_per_second, &flow);
}

fn bytes(bytes: f64) -> String {
    human::bytes(bytes.round() as u64)
}

/// As networks are spoken of.
fn flow(bytes_per_second: f64) -> String {
    format!("{:.1} MB/s", bytes_per_second / 1e6)
}
