//! `rtf size`: what a load takes, reckoned from measured costs. Asks no server.

mod args;
mod costs;
mod plan;
mod reckoning;
mod report;
#[cfg(test)]
mod tests;
mod waiting;

pub use args::SizeArgs;

use crate::out;
use plan::Plan;

/// Prints what it takes.
///
/// # Errors
/// A configuration that is not accepted, or it cannot be written.
pub fn run(args: &SizeArgs) -> anyhow::Result<()> {
    let inputs = args.inputs()?;
    let plan = Plan::of(&inputs);
    if args.json {
        out::line(report::json(&inputs, &plan)).map(drop)
    } else {
        out::write(report::text(&inputs, &plan).as_bytes()).map(drop)
    }
}
