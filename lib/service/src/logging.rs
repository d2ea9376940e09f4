//! Log lines on standard error.

use std::io::IsTerminal;
use std::sync::OnceLock;
use tracing_subscriber::prelude::*;
use tracing_subscriber::{EnvFilter, Registry, fmt, registry, reload};

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
    let (filter, handle) = reload::Layer::new(EnvFilter::new(chosen(filter, variable)));
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = match format {
        Format::Pretty => lines
            .with_ansi(colours(std::io::stderr().is_terminal(), variable))
            .with_target(false)
            .boxed(),
        Format::Json => lines.json().flatten_event(true).boxed(),
    };
    // An error here means that logging has been started before.
    if registry().with(filter).with(lines).try_init().is_ok() {
        keep(handle);
    }
}

/// Replaces the filter and returns the one before.
type Replace = Box<dyn Fn(EnvFilter) -> Result<String, FilterError> + Send + Sync>;

/// Set once, with the process's logging.
static REPLACE: OnceLock<Replace> = OnceLock::new();

/// A filter that was not put in force.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// It cannot be read.
    #[error(
        "`{filter}` is not a filter: {words}; try error, warn, info, debug, trace or `info,rtf_registry=debug`"
    )]
    Unreadable {
        /// What was wanted.
        filter: String,
        /// What is wrong with it.
        words: String,
    },
    /// Logging was not started here.
    #[error("this process's logging cannot be changed")]
    Fixed,
}

fn keep(handle: reload::Handle<EnvFilter, Registry>) {
    let replace = move |filter| {
        let before = handle.with_current(ToString::to_string);
        let replaced = before.and_then(|before| handle.reload(filter).map(|()| before));
        replaced.map_err(|_| FilterError::Fixed)
    };
    // Nobody else sets it: logging is started once.
    let _ = REPLACE.set(Box::new(replace));
}

/// Logs by this filter from now on; returns the one before.
///
/// # Errors
/// The filter cannot be read as a whole, or logging was not started by [`init`].
pub fn set_filter(filter: &str) -> Result<String, FilterError> {
    let unreadable = |words: String| FilterError::Unreadable {
        filter: filter.into(),
        words,
    };
    if filter.trim().is_empty() {
        return Err(unreadable("it is empty".into()));
    }
    let new = EnvFilter::try_new(filter).map_err(|error| unreadable(error.to_string()))?;
    REPLACE.get().ok_or(FilterError::Fixed)?(new)
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
    fn a_filter_is_read_as_a_whole_and_the_one_before_is_told() {
        for unreadable in ["", " ", "rtf=loud", "a[b"] {
            let refused = set_filter(unreadable);
            assert!(
                matches!(refused, Err(FilterError::Unreadable { .. })),
                "{unreadable}"
            );
        }
        assert!(matches!(set_filter("debug"), Err(FilterError::Fixed)));
        init(Format::Json, Some("warn"));
        assert_eq!(set_filter("info,rtf_registry=debug").unwrap(), "warn");
        assert!(!tracing::enabled!(tracing::Level::DEBUG));
        assert!(tracing::enabled!(target: "rtf_registry", tracing::Level::DEBUG));
        set_filter("warn").unwrap();
        assert!(!tracing::enabled!(tracing::Level::INFO));
    }

    #[test]
    fn colours_are_for_terminals() {
        let none = [("NO_COLOR", "1")];
        assert!(colours(true, |_| None));
        assert!(!colours(false, |_| None));
        assert!(!colours(true, |name| environment(&none, name)));
    }
}
