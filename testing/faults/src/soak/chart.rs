//! Chart: a picture of a figure over time, a line for each process. It must not know what is flat.

use std::path::Path;

use anyhow::Result;
use plotters::prelude::*;

use super::course::{Course, Figure};

const SIZE: (u32, u32) = (960, 420);
/// Room for the names, beside the lines.
const NAMES: f64 = 0.16;
const MINUTE: f64 = 60.0;

/// Writes `soak-FIGURE.svg` into a folder.
pub(super) fn draw(folder: &Path, figure: &Figure, courses: &[&Course]) -> Result<()> {
    let looks = || courses.iter().flat_map(|course| &course.looks);
    let end = looks().fold(1.0, |end: f64, (second, _)| end.max(second / MINUTE));
    let most = looks().fold(1.0, |most: f64, (_, value)| most.max(*value));
    let name = format!("soak-{}.svg", figure.name.replace(' ', "-"));
    let path = folder.join(name);
    let root = SVGBackend::new(&path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let title = format!("{}, {}", figure.name, figure.unit);
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 16))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(52)
        .build_cartesian_2d(0.0..end * (1.0 + NAMES), 0.0..most * 1.05)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_desc("minutes")
        .draw()?;
    let shown = courses.iter().filter(|course| !course.looks.is_empty());
    for (place, course) in shown.enumerate() {
        let colour = Palette99::pick(place).to_rgba();
        let line = course
            .looks
            .iter()
            .map(|(second, value)| (second / MINUTE, *value));
        chart
            .draw_series(LineSeries::new(line, colour.stroke_width(2)))?
            .label(&course.who)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 14, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .draw()?;
    root.present()?;
    Ok(())
}
