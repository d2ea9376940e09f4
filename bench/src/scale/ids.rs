//! The registry's part alone: a partition that remembers more and more ids, on the real store.

use crate::ids::{Growing, id_of};
use crate::oracle::Faults;
use crate::scale::curve::{Course, Curve, Run};
use crate::tools::scattered;
use anyhow::{Result, ensure};
use rtf_testing::cost::cpu_seconds;

/// So many ids are applied while it is measured, the last ones up to each size.
const APPLIED: u64 = 1_000_000;
/// Questions at each size.
const ABSENT: u64 = 8_000_000;
const PRESENT: u64 = 500_000;

pub fn measure(sizes: &[u64], runs: u32) -> Result<Course> {
    ensure!(sizes.is_sorted(), "ids can only grow");
    let labels = sizes.iter().map(|size| label(*size));
    let mut course = Course::new(Curve::Ids, "one hot bucket, one thread".into(), labels);
    for _ in 0..runs {
        fill(sizes, &mut course)?;
    }
    Ok(course)
}

fn label(ids: u64) -> String {
    match ids {
        1_000_000.. => format!("{} M ids", ids as f64 / 1e6),
        _ => format!("{ids} ids"),
    }
}

/// Fills it once, and looks at each size.
fn fill(sizes: &[u64], course: &mut Course) -> Result<()> {
    let folder = rtf_testing::temp_folder("ids")?;
    let mut growing = Growing::open(folder.path())?;
    let mut last = 0;
    for (place, size) in sizes.iter().copied().enumerate() {
        let count = (size - last).min(APPLIED);
        growing.grow(size - count)?;
        let applied = micros(count, || growing.grow(size))?;
        let remembered = &growing.remembered;
        let absent = micros(ABSENT, || {
            let absent = (size..size + ABSENT).filter(|n| remembered.is_absent(&id_of(*n)));
            // A few look like ids that are there, and are read to see that they are not.
            ensure!(absent.count() > 0, "all ids are there");
            Ok(())
        })?;
        let present = micros(PRESENT, || {
            for question in 0..PRESENT {
                let id = id_of(scattered(question) % size);
                ensure!(remembered.registered(&id)?.is_some(), "an id is missing");
            }
            Ok(())
        })?;
        let disk = growing.store.bytes() as f64 / size as f64;
        let figures = vec![applied, absent * 1000.0, present, disk];
        let faults = Faults::default();
        course.note(place, true, Ok(Run { figures, faults }));
        last = size;
    }
    Ok(())
}

/// CPU µs for each of so many, all threads of this process together.
fn micros(count: u64, work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let own = std::process::id();
    let before = cpu_seconds(own)?;
    work()?;
    Ok((cpu_seconds(own)? - before) * 1e6 / count as f64)
}
