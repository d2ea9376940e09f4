//! `rtf init`: looks at two topics and writes the configuration that joins them.

mod args;
mod ask;
mod fields;
mod file;
mod proposal;

pub use args::InitArgs;

use crate::sample::overlap::percent;
use crate::sample::{self, Bounds, Sample};
use crate::watch::told_to_stop;
use crate::{exit, human, options, out};
use anyhow::{Context, bail};
use console::Term;
use fields::Survey;
use file::{Draft, Side};
use proposal::{Chosen, Pair, Proposal, Sides};
use rtf_config::{Config, Kafka, Severity};
use rtf_kafka::{Cluster, Isolation, Settings};
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

const SAMPLE_BYTES: usize = 64 << 20;
const SAMPLE_WITHIN: Duration = Duration::from_secs(20);
/// A key that so few events share with a primary is probably another one.
const FEW: f64 = 0.1;

/// A topic, what was read of it, and its fields.
struct Looked {
    topic: String,
    sample: Sample,
    survey: Survey,
}

/// Writes the file.
///
/// # Errors
/// No Kafka, no such topics, nothing in them, or a file that is there already.
pub async fn run(args: InitArgs) -> anyhow::Result<()> {
    let writing = tokio::task::spawn_blocking(move || write(&args));
    tokio::select! {
        written = writing => written?,
        told = told_to_stop() => {
            told?;
            // A question hides it.
            let _ = Term::stderr().show_cursor();
            std::process::exit(exit::INTERRUPTED);
        }
    }
}

fn write(args: &InitArgs) -> anyhow::Result<()> {
    let to_stdout = args.output == Path::new("-");
    if !to_stdout && !args.force && args.output.exists() {
        return Err(exit::usage(format!(
            "{} is there already: --force overwrites it, -o FILE writes another",
            args.output.display()
        )));
    }
    let kafka = args.kafka.section()?;
    let settings = options::broker(&kafka);
    let cluster = Cluster::connect(&settings)?;
    let topics = ask::candidates(cluster.topics("")?);
    let (foreign, primary) = (args.foreign.as_deref(), args.primary.as_deref());
    let foreign = ask::topic(
        foreign,
        &topics,
        "--foreign",
        "Which topic drives the join (clicks, tweets, payments)?",
    )?;
    let primary = ask::topic(
        primary,
        &topics,
        "--primary",
        "Which topic is looked up (queries, deals, orders)?",
    )?;
    let foreign = look(&cluster, &settings, foreign, args.sample)?;
    let primary = look(&cluster, &settings, primary, args.sample)?;
    let (text, said) = draft(args, &kafka, &foreign, &primary)?;
    if to_stdout {
        eprint!("{said}");
        return out::write(text.as_bytes()).map(drop);
    }
    let refused = || format!("{} cannot be written", args.output.display());
    std::fs::write(&args.output, text).with_context(refused)?;
    let file = args.output.display();
    let next = format!(
        "\n{file} is written. Read it, then:\n  rtf config check -c {file}\n  rtf doctor -c {file}\n  rtf run -c {file}\n"
    );
    out::write((said + &next).as_bytes()).map(drop)
}

fn look(
    cluster: &Cluster,
    settings: &Settings,
    topic: String,
    each: u64,
) -> anyhow::Result<Looked> {
    let bounds = Bounds {
        first: each,
        last: each,
        bytes: SAMPLE_BYTES,
        time: SAMPLE_WITHIN,
    };
    let sample = sample::take(cluster, settings, &topic, Isolation::ReadCommitted, bounds)?;
    let sample = sample.with_context(|| format!("topic `{topic}` is gone"))?;
    if sample.records.is_empty() {
        bail!(
            "topic `{topic}` is empty: send it some records first, for there is nothing to tell ids, keys and times from"
        );
    }
    let survey = Survey::of(&sample.records);
    if survey.read == 0 {
        bail!(
            "none of {} records of topic `{topic}` has a JSON object as its value{}; only JSON can be joined",
            human::count(sample.records.len() as u64),
            if survey.example.is_empty() {
                String::new()
            } else {
                format!(": the first is `{}`", survey.example)
            }
        );
    }
    Ok(Looked {
        topic,
        sample,
        survey,
    })
}

/// The file's text, and what is said of it.
fn draft(
    args: &InitArgs,
    kafka: &Kafka,
    foreign: &Looked,
    primary: &Looked,
) -> anyhow::Result<(String, String)> {
    let sides = Sides {
        foreign: (&foreign.topic, &foreign.survey),
        primary: (&primary.topic, &primary.survey),
        coverage: primary.sample.coverage(),
    };
    let proposal = Proposal::of(&sides);
    let keys = match args.key.as_slice() {
        [] => vec![ask::key(&proposal.keys, &foreign.topic, &primary.topic)?],
        given => given.to_vec(),
    };
    let pairs: Vec<Option<Pair>> = keys.iter().map(|(f, p)| sides.pair(f, p)).collect();
    let key_why: Vec<String> = (keys.iter().zip(&pairs))
        .map(|((f, p), pair)| why(f, p, pair.as_ref()))
        .collect();
    let rivals: Vec<&Pair> = (proposal.keys.iter())
        .filter(|pair| !keys.contains(&(pair.foreign.clone(), pair.primary.clone())))
        .collect();
    let mut comments = key_why.clone();
    comments.extend(rivals.iter().map(|pair| format!("Or {pair}.")));
    let (foreign_keys, primary_keys) = keys.into_iter().unzip();
    let name = args.name.clone().unwrap_or_else(|| name(&foreign.topic));
    let basis = format!(
        "What it says of fields was seen in {} and {}.",
        read(foreign),
        read(primary)
    );
    let draft = Draft {
        kafka,
        redis: &args.redis,
        name: &name,
        basis: &basis,
        foreign: side(
            foreign,
            proposal.foreign_id,
            foreign_keys,
            proposal.foreign_time,
        ),
        primary: side(
            primary,
            proposal.primary_id,
            primary_keys,
            proposal.primary_time,
        ),
        key_why: comments,
        folds: pairs.iter().flatten().any(|pair| pair.folds),
        primaries: pairs
            .iter()
            .flatten()
            .map(|pair| pair.primaries)
            .reduce(f64::min)
            .unwrap_or(1.0),
        expires: proposal.expires,
    };
    let mut said = said(foreign, &draft.foreign, None);
    said += &self::said(primary, &draft.primary, draft.expires.as_ref());
    key_why
        .iter()
        .for_each(|line| said += &format!("\n{line}\n"));
    rivals
        .iter()
        .for_each(|pair| said += &format!("  or {pair}\n"));
    if pairs
        .iter()
        .flatten()
        .any(|pair| pair.overlap.estimate() < FEW)
    {
        said += "  That is little: is it the key? --key FOREIGN=PRIMARY says another one.\n";
    }
    Ok((accepted(draft.text(), &mut said)?, said))
}

/// What `rtf config check` will say of it.
fn accepted(text: String, said: &mut String) -> anyhow::Result<String> {
    let config = Config::from_toml(&text).map_err(|error| exit::usage(error.to_string()))?;
    for problem in config.check() {
        if problem.severity == Severity::Error {
            return Err(exit::usage(problem.to_string()));
        }
        let _ = writeln!(said, "{problem}");
    }
    Ok(text)
}

fn side(looked: &Looked, id: Option<Chosen>, key: Vec<String>, time: Option<Chosen>) -> Side<'_> {
    Side {
        topic: &looked.topic,
        survey: &looked.survey,
        id,
        key,
        time,
    }
}

fn why(foreign: &str, primary: &str, pair: Option<&Pair>) -> String {
    match pair {
        Some(pair) => format!("Key {pair}."),
        None => format!("Key {foreign} = {primary}: no values meet in the samples."),
    }
}

/// A name made of a topic's, of letters that are allowed; Kafka allows no others.
fn name(topic: &str) -> String {
    topic.chars().take(200).collect()
}

/// How much was looked at.
fn read(looked: &Looked) -> String {
    let records = human::count(looked.sample.records.len() as u64);
    if looked.sample.is_whole {
        return format!("all {records} records of `{}`", looked.topic);
    }
    let total = human::count(looked.sample.total);
    format!("{records} of the {total} records of `{}`", looked.topic)
}

/// What was found on one side.
fn said(looked: &Looked, side: &Side<'_>, expires: Option<&Chosen>) -> String {
    let mut text = format!(
        "{} ({} partitions)\n",
        read(looked),
        looked.sample.partitions
    );
    let survey = &looked.survey;
    let all = looked.sample.records.len();
    let mut note = |count: usize, words: &str| {
        if count > 0 {
            let share = percent(count as f64 / all as f64);
            let _ = writeln!(
                text,
                "  {} of them ({share}) {words}",
                human::count(count as u64)
            );
        }
    };
    note(survey.repeated, "were there before, byte for byte");
    note(survey.empty, "have no value");
    let example = format!("are no JSON objects, such as `{}`", survey.example);
    note(survey.unreadable, &example);
    let position = Chosen {
        field: "-".into(),
        why: "no field is in each record with a value of its own: position is the id".into(),
    };
    let kafka = Chosen {
        field: "-".into(),
        why: "Kafka's timestamp".into(),
    };
    let lines = [
        ("id", Some(side.id.as_ref().unwrap_or(&position))),
        ("time", Some(side.time.as_ref().unwrap_or(&kafka))),
        ("expires", expires),
    ];
    let lines: Vec<_> = lines
        .iter()
        .filter_map(|(name, chosen)| Some((*name, (*chosen)?)))
        .collect();
    let width = lines
        .iter()
        .map(|(_, chosen)| chosen.field.chars().count())
        .max()
        .unwrap_or(0);
    for (name, chosen) in lines {
        let _ = writeln!(text, "  {name:<8} {:<width$}  {}", chosen.field, chosen.why);
    }
    text
}
