//! What a replay came to, for people and for programs.

use super::args::ReplayArgs;
use super::plan::{Line, Plan};
use crate::registry::answers::exit_code;
use crate::table::{Align, Table};
use crate::{human, out};
use rtf_proto::{Offset, PartitionId, pb};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::process::ExitCode;

/// The dispatchers are where they were.
#[derive(Debug)]
pub struct Caught {
    /// How long that took.
    pub seconds: f64,
    /// What all dispatchers counted meanwhile, whatever is new included; none where that is not known.
    pub tally: Option<pb::DispatcherTally>,
}

/// The plan, and what became of it.
#[derive(Debug)]
pub struct Report {
    group: String,
    /// The foreign topic.
    pub topic: String,
    /// What was to be done.
    pub plan: Plan,
    /// Whether it is done.
    pub executed: bool,
    /// What stands against doing it.
    pub active: Option<String>,
    /// What did not work.
    pub failures: Vec<String>,
    /// The dispatchers' counts before.
    pub tally_before: Option<pb::DispatcherTally>,
    /// Whether they are where they were.
    pub caught: Option<Caught>,
    /// Partitions that went back, with where they were.
    gone_back: BTreeMap<PartitionId, Offset>,
    execute: bool,
    running: bool,
    json: bool,
}

impl Report {
    /// Nothing is done yet.
    pub fn new(group: &str, topic: &str, args: &ReplayArgs, plan: Plan) -> Self {
        Self {
            group: group.into(),
            topic: topic.into(),
            plan,
            executed: false,
            active: None,
            failures: Vec::new(),
            tally_before: None,
            caught: None,
            gone_back: BTreeMap::new(),
            execute: args.execute,
            running: args.running,
            json: args.json,
        }
    }

    /// A dispatcher says what became of one of its partitions.
    pub fn note(&mut self, replayed: &pb::Replayed) {
        if replayed.error.is_empty() {
            self.gone_back.insert(replayed.partition, replayed.before);
        } else {
            let pb::Replayed {
                partition, error, ..
            } = replayed;
            self.failures
                .push(format!("partition {partition}: {error}"));
        }
    }

    /// All dispatchers have answered.
    pub fn count_missing(&mut self) {
        let missing = self.plan.changes().into_iter();
        let missing: Vec<PartitionId> = missing
            .map(|(partition, _)| partition)
            .filter(|partition| !self.gone_back.contains_key(partition))
            .collect();
        self.executed = missing.is_empty();
        if !missing.is_empty() {
            self.failures.push(format!(
                "partitions {missing:?} did not go back: none of the dispatchers that were asked has them, or see above. Are all of them in \
                 [cluster].dispatchers? While the group rebalances, ask again"
            ));
        }
    }

    /// Where the partitions that went back were.
    pub fn goals(&self) -> BTreeMap<PartitionId, Offset> {
        if self.running {
            return self.gone_back.clone();
        }
        let lines = self.plan.lines.iter().filter(|line| line.to < line.mark);
        lines.map(|line| (line.partition, line.mark)).collect()
    }

    /// Prints it; 1 unless what was asked is done, or could be.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn print(&self) -> anyhow::Result<ExitCode> {
        if self.json {
            out::line(self.as_json())?;
        } else {
            out::write(self.words().as_bytes())?;
        }
        let is_well = self.failures.is_empty() && self.active.is_none();
        Ok(exit_code(is_well && self.executed == self.execute))
    }

    fn words(&self) -> String {
        let mut text = format!(
            "group {}, topic {}\n\n{}",
            self.group,
            self.topic,
            self.table()
        );
        let mut say = |line: String| text += &format!("\n{line}\n");
        let records = human::count(self.plan.records());
        match (self.execute, self.plan.changes().is_empty()) {
            (_, true) => say("nothing goes back".into()),
            (false, false) => say(format!(
                "at most {records} records would be read again; nothing is changed: with --execute it is done"
            )),
            (true, false) if self.executed => {
                say(format!("at most {records} records are read again"))
            }
            (true, false) => {}
        }
        if let Some(words) = &self.active {
            say(words.clone());
        }
        for failure in &self.failures {
            say(failure.clone());
        }
        if let Some(caught) = &self.caught {
            say(caught.words(self.plan.records()));
        }
        text
    }

    fn table(&self) -> Table {
        let mut table = Table::new(&[
            ("PARTITION", Align::Right),
            ("POSITION", Align::Right),
            ("NEW", Align::Right),
            ("RECORDS", Align::Right),
            ("NOTE", Align::Left),
        ]);
        for line in &self.plan.lines {
            table.row(vec![
                line.partition.to_string(),
                human::count(line.mark),
                human::count(line.to),
                human::count(line.records),
                line.note.clone().unwrap_or_default(),
            ]);
        }
        table
    }

    fn as_json(&self) -> Value {
        let line = |line: &Line| {
            json!({
                "partition": line.partition, "position": line.mark, "new_position": line.to, "records": line.records, "note": line.note,
            })
        };
        let partitions: Vec<Value> = self.plan.lines.iter().map(line).collect();
        json!({
            "group": self.group, "topic": self.topic, "executed": self.executed, "running": self.running,
            "records": self.plan.records(), "partitions": partitions, "refused": self.active, "failures": self.failures,
            "caught_up": self.caught.as_ref().map(Caught::as_json),
        })
    }
}

impl Caught {
    fn words(&self, records: u64) -> String {
        let rate = records as f64 / self.seconds.max(0.001);
        let text = format!(
            "read again in {:.1} s, {} records a second",
            self.seconds,
            human::count(rate as u64)
        );
        let Some(tally) = self.tally else {
            return text;
        };
        format!(
            "{text}; meanwhile, with whatever is new: {} found resolved, {} too old to be remembered and left alone, {} joined, {} unjoinable, {} malformed",
            human::count(tally.already_resolved),
            human::count(tally.too_old),
            human::count(tally.joined),
            human::count(tally.unjoinable),
            human::count(tally.malformed)
        )
    }

    fn as_json(&self) -> Value {
        let tally = self.tally.map(|tally| {
            json!({
                "already_resolved": tally.already_resolved, "too_old": tally.too_old, "joined": tally.joined,
                "unjoinable": tally.unjoinable, "malformed": tally.malformed,
            })
        });
        json!({ "seconds": self.seconds, "tally": tally })
    }
}
