//! Problems: what is wrong, counted by sort, with the first few of each.

use std::collections::BTreeMap;

use anyhow::{Result, bail};

/// So many of each sort are told.
const NAMED_MAX: usize = 8;

#[derive(Debug, Default)]
pub(super) struct Problems(BTreeMap<&'static str, Sort>);

#[derive(Debug, Default)]
struct Sort {
    count: u64,
    named: Vec<String>,
}

impl Problems {
    /// Notes one. Its words are made only if they will be told.
    pub(super) fn add(&mut self, sort: &'static str, words: impl FnOnce() -> String) {
        let sort = self.0.entry(sort).or_default();
        sort.count += 1;
        if sort.named.len() < NAMED_MAX {
            sort.named.push(words());
        }
    }

    /// Notes one unless it is so.
    pub(super) fn unless(
        &mut self,
        right: bool,
        sort: &'static str,
        words: impl FnOnce() -> String,
    ) {
        if !right {
            self.add(sort, words);
        }
    }

    /// An error if there are any.
    pub(super) fn into_result(self) -> Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        let told = self.0.iter().map(|(name, sort)| {
            let named = sort.named.join("\n    ");
            let more = match sort.count - sort.named.len() as u64 {
                0 => String::new(),
                more => format!("\n    and {more} more"),
            };
            format!("  {name} ({}):\n    {named}{more}", sort.count)
        });
        bail!("not exactly once:\n{}", told.collect::<Vec<_>>().join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_the_first_few_and_how_many_there_are() {
        let mut problems = Problems::default();
        problems.unless(true, "fine", || unreachable!("it is right"));
        for number in 0..10 {
            problems.add("lost", || format!("event {number}"));
        }
        let error = problems.into_result().unwrap_err().to_string();
        assert!(error.contains("lost (10):\n    event 0\n"), "{error}");
        assert!(error.ends_with("event 7\n    and 2 more"), "{error}");
        assert!(Problems::default().into_result().is_ok());
    }
}
