//! What was measured, as Markdown and as a picture. Measures nothing.

use crate::backlog::Backlog;
use crate::contest::USUAL_EVENTS;
use crate::contest::chart;
use crate::contest::contender::Contender;
use crate::contest::results::{Pace, Results};
use crate::document::{self, Picture};
use crate::oracle::sum;
use crate::spread::number;
use crate::table::{cell, checked, failures};
use anyhow::Result;
use std::path::Path;

/// The section and the picture of the backlog that is measured unless told otherwise; another one has its own.
const WRITER: &str = "bench/run";

/// What was measured how.
pub struct Report<'a> {
    pub results: &'a [Results],
    pub events: u64,
    pub runs: u32,
    pub seconds: u64,
    pub paces: &'a [Pace],
    pub recovery_rate: u32,
    /// When, on what and how busy it was before.
    pub circumstances: &'a str,
}

impl Report<'_> {
    /// Puts tables and picture into this folder's document on performance.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let (writer, file) = match self.events {
            USUAL_EVENTS => (WRITER.into(), "peers.svg".into()),
            events => (
                format!("{WRITER} --events {events}"),
                format!("peers-{events}.svg"),
            ),
        };
        let picture = Picture {
            file: &file,
            words: "Throughput, CPU, memory, latency and recovery of each",
            svg: chart::draw(self.results, self.paces),
        };
        document::write(folder, &writer, &self.markdown(), &picture)
    }

    /// All tables.
    pub fn markdown(&self) -> String {
        let mut text = format!("{}\n", self.circumstances);
        if self.events > 0 {
            text += &self.backlog();
        }
        for pace in self.paces {
            text += &self.latency(*pace);
        }
        if self.recovery_rate > 0 {
            text += &self.recovery();
        }
        let all = self.results.iter().flat_map(|results| {
            let failures = results.failures.iter();
            failures.map(|words| format!("{}: {words}", results.contender.title()))
        });
        text += &failures(all);
        text
    }

    fn backlog(&self) -> String {
        let heading = format!(
            "Backlog: {} clicks and as many queries, from process start to the last row visible, median (least–most) of {} in turns",
            self.events, self.runs
        );
        let columns = [
            "",
            "promises",
            "rows/s",
            "of the limit",
            "first row s",
            "peak RSS MiB",
            "own CPU s / M rows",
            "Kafka",
            "Redis",
            "bytes a row",
        ];
        let limit = self.median_rate(Contender::PassThrough);
        let rows = self.results.iter().map(|results| {
            let figure = |figure: fn(&Backlog) -> f64| cell(results.backlog(figure));
            let rate = results.backlog(|run| run.rows_per_second);
            let share = rate
                .zip(limit)
                .map(|(rate, limit)| 100.0 * rate.median / limit);
            let faults = sum(results.backlogs.iter().map(|run| run.faults));
            let cells = vec![
                results.contender.title().into(),
                results.contender.promise().into(),
                cell(rate),
                share.map_or("–".into(), |share| format!("{share:.0} %")),
                figure(|run| run.first_row_seconds),
                figure(|run| run.peak_mib),
                figure(|run| run.own_cpu),
                figure(|run| run.kafka_cpu),
                figure(|run| run.redis_cpu),
                results
                    .backlog(|run| run.row_bytes)
                    .map_or("–".into(), |bytes| number(bytes.median)),
            ];
            (cells, faults)
        });
        let mut text = checked(&heading, &columns, rows);
        if let Some(ours) = self.median_rate(Contender::Rtf) {
            text += &self.ratios(ours);
        }
        text
    }

    fn median_rate(&self, contender: Contender) -> Option<f64> {
        let mut all = self.results.iter();
        let results = all.find(|results| results.contender == contender)?;
        Some(results.backlog(|run| run.rows_per_second)?.median)
    }

    fn ratios(&self, ours: f64) -> String {
        let others = self.results.iter().map(|results| results.contender);
        let others =
            others.filter(|other| !matches!(other, Contender::Rtf | Contender::PassThrough));
        let ratios = others.filter_map(|other| {
            let rate = self.median_rate(other)?;
            Some(format!("{:.1} times {}", ours / rate, other.title()))
        });
        let ratios: Vec<String> = ratios.collect();
        if ratios.is_empty() {
            return String::new();
        }
        format!("\n`rtf run` is {} (medians).\n", ratios.join(", "))
    }

    fn latency(&self, pace: Pace) -> String {
        let heading = format!(
            "Latency at {pace} over {} s, ms from handing the click to the producer to reading its row",
            self.seconds
        );
        let columns = [
            "",
            "p50",
            "p90",
            "p99",
            "p99.9",
            "max",
            "cores busy: own",
            "Kafka",
            "Redis",
        ];
        let rows = self.results.iter().map(|results| {
            let mut cells = vec![results.contender.title().into()];
            cells.extend((0..5).map(|i| cell(results.latency(pace, |run| run.quantiles_ms[i]))));
            cells.extend((0..3).map(|i| cell(results.latency(pace, |run| run.cores[i]))));
            let runs = results.latencies.get(&pace).into_iter().flatten();
            (cells, sum(runs.map(|run| run.faults)))
        });
        checked(&heading, &columns, rows)
    }

    fn recovery(&self) -> String {
        let heading = format!(
            "`kill -9` at {} clicks a second, started again at once",
            self.recovery_rate
        );
        let columns = ["", "longest gap s", "caught up after s"];
        let rows = self
            .results
            .iter()
            .filter(|results| results.contender.joins());
        let rows = rows.map(|results| {
            let cells = vec![
                results.contender.title().into(),
                cell(results.gap()),
                cell(results.caught_up()),
            ];
            (cells, sum(results.recoveries.iter().map(|run| run.faults)))
        });
        checked(&heading, &columns, rows)
    }
}
