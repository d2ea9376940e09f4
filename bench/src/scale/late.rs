//! Late primaries: a paced load, as in a backlog everything is there already.

use crate::contest::WARM_UP;
use crate::contest::contender::Contender;
use crate::contest::paced::{self, Load};
use crate::scale::curve::{Course, Curve, Run};
use crate::stage::Stage;
use anyhow::{Result, ensure};
use rtf_synth::Share;
use std::num::NonZeroU32;
use std::time::Duration;

const PERCENT: [u16; 6] = [0, 10, 30, 50, 70, 90];

pub fn measure(rate: NonZeroU32, seconds: u64, runs: u32) -> Result<Course> {
    let words =
        format!("{rate} clicks a second over {seconds} s, late queries 2 s after their click");
    let labels = PERCENT.map(|percent| format!("{percent} %"));
    let mut course = Course::new(Curve::Late, words, labels);
    let stage = Stage::open(0)?;
    course.turns(runs, |place, name| {
        let load = Load {
            rate,
            late: Share::per_thousand(PERCENT[place] * 10),
            warm_up: WARM_UP,
            time: Duration::from_secs(seconds),
            kill_after: None,
        };
        run(&stage, name, &load)
    });
    Ok(course)
}

fn run(stage: &Stage, name: &str, load: &Load) -> Result<Run> {
    let course = paced::run(stage, Contender::Rtf, name, load)?;
    let counted = load.warm_up..load.warm_up + load.time;
    let rows = course
        .rows
        .iter()
        .filter(|(_, read)| counted.contains(read));
    let rows = rows.count();
    ensure!(rows > 0, "no row came in the counted time");
    let cpu = course
        .cores
        .map(|cores| cores * load.time.as_secs_f64() * 1e6 / rows as f64);
    Ok(Run {
        figures: [cpu.as_slice(), &[course.peak_mib as f64]].concat(),
        faults: course.faults,
    })
}
