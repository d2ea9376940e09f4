//! What is asked on a terminal, where a flag leaves it open. Elsewhere it is an error of usage that says which flag.

use super::proposal::Pair;
use crate::exit;
use anyhow::{Context, bail};
use dialoguer::{Input, Select};
use rtf_json::{Extractor, Fields};
use std::io::IsTerminal;

/// Topics that are named in an error.
const NAMED: usize = 30;
/// Lines of a list that are shown at once.
const LINES: usize = 15;

/// Whether somebody is there who could answer.
fn is_somebody_there() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Topics that may be joined: neither Kafka's own nor ours.
pub fn candidates(mut topics: Vec<String>) -> Vec<String> {
    let is_ours = |topic: &str| {
        topic.ends_with(".joins") || topic.ends_with(".dead") || topic.contains(".retry.")
    };
    topics.retain(|topic| !topic.starts_with("__") && !is_ours(topic));
    topics.sort_unstable();
    topics
}

/// A topic: as given, or asked for.
///
/// # Errors
/// It is not there, or nobody can be asked.
pub fn topic(
    given: Option<&str>,
    topics: &[String],
    flag: &str,
    question: &str,
) -> anyhow::Result<String> {
    if let Some(given) = given {
        if topics.iter().any(|topic| topic == given) {
            return Ok(given.into());
        }
        return Err(exit::usage(format!(
            "{flag} {given}: there is no such topic; there {}",
            listed(topics)
        )));
    }
    if !is_somebody_there() {
        return Err(exit::usage(format!(
            "{flag} TOPIC is missing; there {}",
            listed(topics)
        )));
    }
    if topics.is_empty() {
        bail!("this Kafka has no topics that could be joined");
    }
    let select = Select::new().with_prompt(question).items(topics).default(0);
    let chosen = select.max_length(LINES).interact_opt()?;
    let chosen = chosen.context("no topic was chosen")?;
    Ok(topics[chosen].clone())
}

fn listed(topics: &[String]) -> String {
    match topics {
        [] => "are none that could be joined".into(),
        [one] => format!("is only {one}"),
        some if some.len() <= NAMED => format!("are {}", some.join(", ")),
        many => format!(
            "are {}, and {} more",
            many[..NAMED].join(", "),
            many.len() - NAMED
        ),
    }
}

/// The key: the best pair, or one of several that are asked about; typed in where no values meet.
///
/// # Errors
/// No values meet, and nobody can be asked.
pub fn key(pairs: &[Pair], foreign: &str, primary: &str) -> anyhow::Result<(String, String)> {
    let fields = |pair: &Pair| (pair.foreign.clone(), pair.primary.clone());
    match pairs {
        [] => typed(foreign, primary),
        [best, _, ..] if is_somebody_there() => {
            let lines: Vec<String> = pairs.iter().map(ToString::to_string).collect();
            let question = format!("Which fields do {foreign} and {primary} have in common?");
            let select = Select::new().with_prompt(question).items(&lines).default(0);
            let chosen = select.interact_opt()?;
            Ok(fields(
                chosen.and_then(|chosen| pairs.get(chosen)).unwrap_or(best),
            ))
        }
        [best, ..] => Ok(fields(best)),
    }
}

fn typed(foreign: &str, primary: &str) -> anyhow::Result<(String, String)> {
    if !is_somebody_there() {
        bail!(
            "no field of {foreign} has values in common with a field of {primary} in these samples; \
             say which are the key with --key /foreign_field=/primary_field, or look at more with --sample"
        );
    }
    eprintln!(
        "No field of {foreign} has values in common with a field of {primary} in these samples."
    );
    let ask = |topic: &str| -> anyhow::Result<String> {
        let input = Input::<String>::new().with_prompt(format!("Key of {topic}, such as /id"));
        let is_field = |text: &String| {
            let key = vec![text.clone()];
            let fields = Fields {
                key,
                ..Fields::default()
            };
            Extractor::new(fields)
                .map(drop)
                .map_err(|error| error.to_string())
        };
        Ok(input.validate_with(is_field).interact_text()?)
    };
    Ok((ask(foreign)?, ask(primary)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_topics_are_not_proposed() {
        let topics = [
            "tweets",
            "__consumer_offsets",
            "a.joins",
            "a.retry.1m",
            "a.dead",
            "deals",
        ];
        let topics = candidates(topics.map(str::to_owned).to_vec());
        assert_eq!(topics, ["deals", "tweets"]);
        let missing = topic(Some("deal"), &topics, "--primary", "").expect_err("it is not there");
        assert_eq!(
            missing.to_string(),
            "--primary deal: there is no such topic; there are deals, tweets"
        );
    }
}
