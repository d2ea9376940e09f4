//! A curve as a table, a sentence for each figure that shall be flat, and a picture. Measures nothing.

use crate::bars::{self, Bar, OURS, Panel};
use crate::document::{self, Picture};
use crate::scale::curve::{Course, Curve, Point};
use crate::scale::verdict::{TOLERANCE_PERCENT, verdict};
use crate::table::{cell, checked, failures};
use anyhow::Result;
use std::path::Path;

pub const WRITER: &str = "rtf-bench scale";

pub struct Report<'a> {
    pub course: &'a Course,
    pub runs: u32,
    /// When, on what and how busy it was before.
    pub circumstances: &'a str,
}

impl Report<'_> {
    /// Puts them into this folder's document on performance.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let word = self.course.curve.word();
        let picture = Picture {
            file: &format!("scale-{word}.svg"),
            words: self.title(),
            svg: bars::draw(&self.panels()),
        };
        let writer = format!("{WRITER} --only {word}");
        document::write(folder, &writer, &self.markdown(), &picture)
    }

    pub fn markdown(&self) -> String {
        let Course {
            curve,
            setting,
            points,
            failures: failed,
        } = self.course;
        let heading = format!(
            "{}: {setting}, median (least–most) of {}",
            self.title(),
            self.runs
        );
        let columns = [&[""], curve.figures()].concat();
        let rows = points.iter().map(|point| {
            let figures = (0..curve.figures().len()).map(|at| cell(point.figure(at)));
            let cells = std::iter::once(point.label.clone()).chain(figures);
            (cells.collect(), point.faults())
        });
        let mut text = format!("{}\n", self.circumstances);
        text += &checked(&heading, &columns, rows);
        for (at, figure) in curve.flat().iter().enumerate() {
            text += &format!("\n- {}", self.verdict(at, figure));
        }
        text + "\n" + &failures(failed.iter().cloned())
    }

    fn title(&self) -> &'static str {
        match self.course.curve {
            Curve::Ids => "Ids in the registry",
            Curve::Late => "Share of primaries that are late",
            Curve::Partitions => "Partitions of the join log",
            Curve::Processes => "Processes of each role that hold everything",
            Curve::Shares => "Processes of each role that share everything",
            Curve::Rows => "Size of a row",
        }
    }

    fn verdict(&self, at: usize, figure: &str) -> String {
        let median = |point: &Point| Some(point.figure(at)?.median);
        let points = self.course.points.iter();
        let points: Vec<_> = points
            .map(|point| (point.label.as_str(), median(point)))
            .collect();
        verdict(figure, &points)
    }

    /// For each figure that shall be flat; where it would be is shaded.
    fn panels(&self) -> Vec<Panel> {
        let figures = self.course.curve.flat().iter().enumerate();
        figures.map(|(at, name)| self.panel(at, name)).collect()
    }

    fn panel(&self, at: usize, figure: &str) -> Panel {
        let points = &self.course.points;
        let bar = |point: &Point| {
            Some(Bar {
                label: point.label.clone(),
                colour: OURS,
                spread: point.figure(at)?,
            })
        };
        let first = points.first().and_then(|point| point.figure(at));
        let title = self.title();
        Panel {
            title: format!("{title}: {figure} (shaded: the first ±{TOLERANCE_PERCENT} %)"),
            bars: points.iter().filter_map(bar).collect(),
            band: first.map(|first| {
                [-TOLERANCE_PERCENT, TOLERANCE_PERCENT]
                    .map(|percent| first.median * (1.0 + percent / 100.0))
            }),
        }
    }
}
