//! Pictures: panels of bars below one another, the median as a bar, least and most as a line over it. Knows only what is shown.

use crate::spread::{Spread, number};
use std::fmt::Write;

const WIDTH: f64 = 760.0;
const BARS_FROM: f64 = 170.0;
const BARS_WIDTH: f64 = 440.0;
const BAR: f64 = 20.0;
const ROW: f64 = 26.0;
const HEAD: f64 = 34.0;
const GAP: f64 = 18.0;

/// What is looked at, what it is compared with, and all else.
pub const OURS: &str = "#0b7285";
pub const LIMIT: &str = "#ced4da";
pub const OTHERS: &str = "#868e96";
const BAND: &str = "#e9ecef";

pub struct Panel {
    pub title: String,
    pub bars: Vec<Bar>,
    /// Between these two values the ground is shaded.
    pub band: Option<[f64; 2]>,
}

pub struct Bar {
    pub label: String,
    pub colour: &'static str,
    pub spread: Spread,
}

/// All panels as SVG.
pub fn draw(panels: &[Panel]) -> String {
    let mut body = String::new();
    let mut top = GAP;
    for panel in panels {
        top = panel.draw(top, &mut body);
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {top}\" width=\"{WIDTH}\" height=\"{top}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"13\" fill=\"#212529\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n{body}</svg>\n"
    )
}

impl Panel {
    /// Returns where the next one begins.
    fn draw(&self, top: f64, svg: &mut String) -> f64 {
        let ends = self.bars.iter().map(|bar| bar.spread.max);
        let ends = ends.chain(self.band.map(|[_, end]| end));
        let scale = BARS_WIDTH / ends.fold(f64::MIN_POSITIVE, f64::max);
        let _ = writeln!(
            svg,
            "<text x=\"16\" y=\"{}\" font-weight=\"600\">{}</text>",
            top + 14.0,
            self.title
        );
        let first = top + HEAD - 8.0;
        let height = self.bars.len() as f64 * ROW;
        if let Some([from, to]) = self.band {
            let _ = writeln!(
                svg,
                "<rect x=\"{:.1}\" y=\"{}\" width=\"{:.1}\" height=\"{height}\" fill=\"{BAND}\"/>",
                BARS_FROM + from * scale,
                first - (ROW - BAR) / 2.0,
                (to - from) * scale
            );
        }
        for (place, bar) in self.bars.iter().enumerate() {
            bar.draw(first + place as f64 * ROW, scale, svg);
        }
        top + HEAD + height + GAP
    }
}

impl Bar {
    fn draw(&self, top: f64, scale: f64, svg: &mut String) {
        let Self {
            label,
            colour,
            spread,
        } = self;
        let (text, middle) = (top + 15.0, top + BAR / 2.0);
        let [min, median, max] = [spread.min, spread.median, spread.max].map(|value| value * scale);
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{text}\" text-anchor=\"end\">{label}</text>\n\
             <rect x=\"{BARS_FROM}\" y=\"{top}\" width=\"{median:.1}\" height=\"{BAR}\" fill=\"{colour}\"/>\n\
             <path d=\"M{:.1} {middle}H{:.1}\" stroke=\"#212529\"/>\n\
             <text x=\"{:.1}\" y=\"{text}\">{}</text>",
            BARS_FROM - 8.0,
            BARS_FROM + min,
            BARS_FROM + max,
            BARS_FROM + max + 8.0,
            number(spread.median),
        );
    }
}
