//! The picture: a panel for each figure, a bar for each contender. Knows only what is shown.

use crate::bars::{self, Bar, LIMIT, OTHERS, OURS, Panel};
use crate::contest::contender::Contender;
use crate::contest::results::{Pace, Results};
use crate::spread::Spread;

/// All panels below one another, as SVG.
pub fn draw(results: &[Results], paces: &[Pace]) -> String {
    bars::draw(&panels(results, paces))
}

fn bar(contender: Contender, spread: Spread) -> Bar {
    Bar {
        label: contender.title().replace('`', ""),
        colour: match contender {
            Contender::Rtf => OURS,
            Contender::PassThrough => LIMIT,
            _ => OTHERS,
        },
        spread,
    }
}

fn panels(results: &[Results], paces: &[Pace]) -> Vec<Panel> {
    let panel = |title: &str, figure: &dyn Fn(&Results) -> Option<Spread>| Panel {
        title: title.into(),
        bars: results
            .iter()
            .filter_map(|results| Some(bar(results.contender, figure(results)?)))
            .collect(),
        band: None,
    };
    let mut panels = vec![
        panel(
            "Backlog: rows a second, from process start (more is better)",
            &|of| of.backlog(|run| run.rows_per_second),
        ),
        panel("Own CPU seconds per million rows (less is better)", &|of| {
            of.backlog(|run| run.own_cpu)
        }),
        panel("Peak memory, MiB (less is better)", &|of| {
            of.backlog(|run| run.peak_mib)
        }),
        panel("Start to first row, seconds (less is better)", &|of| {
            of.backlog(|run| run.first_row_seconds)
        }),
    ];
    panels.extend(paces.iter().map(|pace| {
        let title = format!("p99 latency at {pace}, ms (less is better)");
        panel(&title, &|of| of.latency(*pace, |run| run.quantiles_ms[2]))
    }));
    panels.push(panel(
        "kill -9: longest time without a row, seconds (less is better)",
        &|of| of.gap(),
    ));
    panels.retain(|panel| !panel.bars.is_empty());
    panels
}
