//! Log lines on standard error.

use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// Where the filter stands in the environment; the first that is set and not empty is taken.
const VARIABLES: [&str; 2] = ["RTF_LOG", "RUST_LOG"];
const DEFAULT: &str = "info";

/// How a line looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// For people.
    Pretty,
    /// One JSON object a line.
    Json,
}

/// Starts logging: `filter`, else `RTF_LOG`, else `RUST_LOG`, else `info`. A second call changes nothing.
/// Directives that cannot be read are named on standard error and left out.
pub fn init(format: Format, filter: Option<&str>) {
    let variable = |name: &str| std::env::var(name).ok();
    let lines = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(chosen(filter, variable)))
        .with_writer(std::io::stderr);
    // An error here means that logging has been started before.
    let _ = match format {
        Format::Pretty => lines
            .with_ansi(colours(std::io::stderr().is_terminal(), variable))
            .with_target(false)
            .try_init(),
        Format::Json => lines.json().flatten_event(true).try_init(),
    };
}

fn chosen(filter: Option<&str>, variable: impl Fn(&str) -> Option<String>) -> String {
    let set = |filter: &String| !filter.trim().is_empty();
    filter
        .map(str::to_owned)
        .filter(set)
        .or_else(|| VARIABLES.into_iter().filter_map(variable).find(set))
        .unwrap_or_else(|| DEFAULT.into())
}

/// On a terminal, unless the user wants none (no-color.org).
fn colours(terminal: bool, variable: impl Fn(&str) -> Option<String>) -> bool {
    terminal && variable("NO_COLOR").is_none_or(|value| value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(set: &[(&str, &str)], name: &str) -> Option<String> {
        let found = set.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| (*value).to_owned())
    }

    #[test]
    fn the_flag_wins_over_the_environment_that_over_the_default() {
        let both = [("RTF_LOG", "debug"), ("RUST_LOG", "trace")];
        let empty = [("RTF_LOG", ""), ("RUST_LOG", "trace")];
        assert_eq!(
            chosen(Some("warn"), |name| environment(&both, name)),
            "warn"
        );
        assert_eq!(chosen(None, |name| environment(&both, name)), "debug");
        assert_eq!(chosen(None, |name| environment(&empty, name)), "trace");
        assert_eq!(chosen(None, |_| None), "info");
    }

    #[test]
    fn colours_are_for_terminals() {
        let none = [("NO_COLOR", "1")];
        assert!(colours(true, |_| None));
        assert!(!colours(false, |_| None));
        assert!(!colours(true, |name| environment(&none, name)));
    }
}
