//! `rtf-simulation`: runs seeds, and hunts mutants.

use clap::Parser;
use rtf_simulation::mutants::{self, first_failure, hunt};
use rtf_simulation::plan::Plan;
use rtf_simulation::run::{Keep, Report, run, run_all, shrink};
use std::time::Instant;

/// Simulates the whole pipeline, seed by seed. Exits 0 if nothing was violated, 1 if something was.
#[derive(Parser)]
struct Arguments {
    /// Run this seed alone; print its trace, or that of the smallest plan that violates the same.
    #[arg(long)]
    seed: Option<u64>,
    /// Run so many seeds.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Pass over seeds whose worlds are not small.
    #[arg(long)]
    small: bool,
    /// Stop at the first that fails, and say how many it took.
    #[arg(long)]
    first: bool,
    /// Look for a seed that catches each of the deliberate bugs; print a table.
    #[arg(long)]
    mutants: bool,
    /// Run the seed a second time, behind so many others, and print where its two traces part.
    #[arg(long)]
    again_after: Option<u64>,
    /// Do not look for a smaller plan than the seed's own.
    #[arg(long)]
    whole: bool,
    /// Print the sum over each seed's trace.
    #[arg(long)]
    hash: bool,
    /// Do not print the trace.
    #[arg(long)]
    quiet: bool,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let is_good = match (arguments.seed, arguments.again_after) {
        _ if arguments.mutants => all_mutants()?,
        (Some(seed), Some(others)) => twice(seed, others),
        (Some(seed), None) => one(seed, &arguments),
        (None, _) if arguments.first => first(&arguments),
        (None, _) => many(&arguments),
    };
    std::process::exit(i32::from(!is_good));
}

fn one(seed: u64, arguments: &Arguments) -> bool {
    let mut plan = Plan::of(seed);
    println!("seed {seed}: {plan}");
    let report = run(&plan, Keep::Lines);
    let Some(violation) = &report.violation else {
        print(&report, arguments);
        return true;
    };
    println!("violated: {}: {}", violation.invariant, violation.words);
    if arguments.whole {
        print(&report, arguments);
        return false;
    }
    plan = shrink(&plan, violation.invariant);
    println!("smallest: {plan}");
    print(&run(&plan, Keep::Lines), arguments);
    false
}

/// Whether the seed's traces are equal.
fn twice(seed: u64, others: u64) -> bool {
    let plan = Plan::of(seed);
    let before = run(&plan, Keep::Lines);
    (1..=others).for_each(|other| drop(run(&Plan::of(seed + other), Keep::Sum)));
    let after = run(&plan, Keep::Lines);
    if before.hash == after.hash {
        println!("{} lines each, all alike", before.lines.len());
        return true;
    }
    let mut lines = before.lines.iter().zip(&after.lines);
    let at = lines.position(|(one, other)| one != other);
    let at = at.unwrap_or(before.lines.len().min(after.lines.len()));
    println!("they part at line {at}; before:");
    let around = |lines: &[String]| {
        let lines = lines.iter().skip(at.saturating_sub(10)).take(16);
        lines.for_each(|line| println!("  {line}"));
    };
    around(&before.lines);
    println!("after:");
    around(&after.lines);
    false
}

fn print(report: &Report, arguments: &Arguments) {
    if !arguments.quiet {
        report.lines.iter().for_each(|line| println!("{line}"));
    }
    println!("trace {:016x}", report.hash);
    match &report.violation {
        Some(violation) => println!("violated: {}: {}", violation.invariant, violation.words),
        None => println!("nothing is violated"),
    }
}

fn first(arguments: &Arguments) -> bool {
    match first_failure(arguments.from, arguments.seeds) {
        Some((seeds, invariant)) => {
            println!("caught after {seeds}: {invariant}");
            false
        }
        None => true,
    }
}

fn many(arguments: &Arguments) -> bool {
    let begun = Instant::now();
    let (mut failed, mut events) = (Vec::new(), 0);
    let plans = (arguments.from..).map(Plan::of);
    let plans = plans.filter(|plan| plan.is_small || !arguments.small);
    let plans = plans.take(usize::try_from(arguments.seeds).unwrap_or(usize::MAX));
    let keep = if arguments.hash {
        Keep::Sum
    } else {
        Keep::Nothing
    };
    for (plan, report) in run_all(plans, keep) {
        let seed = plan.seed;
        events += u64::from(plan.events);
        if arguments.hash {
            println!("{seed} {:016x}", report.hash);
        }
        if let Some(violation) = report.violation {
            println!("seed {seed}: {}: {}", violation.invariant, violation.words);
            failed.push(seed);
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    println!(
        "{} seeds with {events} events in {seconds:.1} s, {:.0} seeds a second; {} failed: {failed:?}",
        arguments.seeds,
        arguments.seeds as f64 / seconds,
        failed.len()
    );
    failed.is_empty()
}

fn all_mutants() -> anyhow::Result<bool> {
    let program = std::env::current_exe()?;
    println!("| mutant | seeds | caught by |\n|---|---|---|");
    let mut survivors = 0;
    for mutant in mutants::ALL {
        match hunt(&program, mutant)? {
            Some(caught) => {
                println!(
                    "| `{}`: {} | {} | {} |",
                    mutant.name, mutant.words, caught.seeds, caught.invariant
                );
            }
            None => {
                survivors += 1;
                println!(
                    "| `{}`: {} | survives {} | |",
                    mutant.name,
                    mutant.words,
                    mutants::SEEDS_MAX
                );
            }
        }
    }
    Ok(survivors == 0)
}
