//! The picture: bars for each contender, the median as a bar, least and most as a line over it. Knows only what is shown.

use crate::contest::contender::Contender;
use crate::contest::figures::{Spread, number};
use crate::contest::results::Results;
use std::fmt::Write;

const WIDTH: f64 = 760.0;
const BARS_FROM: f64 = 170.0;
const BARS_WIDTH: f64 = 440.0;
const BAR: f64 = 20.0;
const ROW: f64 = 26.0;
const HEAD: f64 = 34.0;
const GAP: f64 = 18.0;
/// Ours, the limit, and all others.
const COLOURS: [&str; 3] = ["#0b7285", "#ced4da", "#868e96"];

struct Panel {
    title: String,
    bars: Vec<(Contender, Spread)>,
}

/// All panels below one another, as SVG.
pub fn draw(results: &[Results], rates: &[u32]) -> String {
    let panels = panels(results, rates);
    let mut body = String::new();
    let mut top = GAP;
    for panel in &panels {
        top = panel.draw(top, &mut body);
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {top}\" width=\"{WIDTH}\" height=\"{top}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"13\" fill=\"#212529\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n{body}</svg>\n"
    )
}

fn panels(results: &[Results], rates: &[u32]) -> Vec<Panel> {
    let panel = |title: &str, figure: &dyn Fn(&Results) -> Option<Spread>| Panel {
        title: title.into(),
        bars: results
            .iter()
            .filter_map(|results| Some((results.contender, figure(results)?)))
            .collect(),
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
    panels.extend(rates.iter().map(|rate| {
        let title = format!("p99 latency at {rate} clicks a second, ms (less is better)");
        panel(&title, &|of| of.latency(*rate, |run| run.quantiles_ms[2]))
    }));
    panels.push(panel(
        "kill -9: longest time without a row, seconds (less is better)",
        &|of| of.gap(),
    ));
    panels.retain(|panel| !panel.bars.is_empty());
    panels
}

impl Panel {
    /// Returns where the next one begins.
    fn draw(&self, top: f64, svg: &mut String) -> f64 {
        let most = self
            .bars
            .iter()
            .map(|(_, spread)| spread.max)
            .fold(f64::MIN_POSITIVE, f64::max);
        let scale = BARS_WIDTH / most;
        let _ = writeln!(
            svg,
            "<text x=\"16\" y=\"{}\" font-weight=\"600\">{}</text>",
            top + 14.0,
            self.title
        );
        for (place, (contender, spread)) in self.bars.iter().enumerate() {
            bar(
                top + HEAD - 8.0 + place as f64 * ROW,
                scale,
                *contender,
                spread,
                svg,
            );
        }
        top + HEAD + self.bars.len() as f64 * ROW + GAP
    }
}

fn bar(top: f64, scale: f64, contender: Contender, spread: &Spread, svg: &mut String) {
    let colour = match contender {
        Contender::Rtf => COLOURS[0],
        Contender::PassThrough => COLOURS[1],
        _ => COLOURS[2],
    };
    let (text, middle) = (top + 15.0, top + BAR / 2.0);
    let [min, median, max] = [spread.min, spread.median, spread.max].map(|value| value * scale);
    let _ = writeln!(
        svg,
        "<text x=\"{}\" y=\"{text}\" text-anchor=\"end\">{}</text>\n\
         <rect x=\"{BARS_FROM}\" y=\"{top}\" width=\"{median:.1}\" height=\"{BAR}\" fill=\"{colour}\"/>\n\
         <path d=\"M{:.1} {middle}H{:.1}\" stroke=\"#212529\"/>\n\
         <text x=\"{:.1}\" y=\"{text}\">{}</text>",
        BARS_FROM - 8.0,
        contender.title().replace('`', ""),
        BARS_FROM + min,
        BARS_FROM + max,
        BARS_FROM + max + 8.0,
        number(spread.median),
    );
}
