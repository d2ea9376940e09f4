//! Colours of words: on a terminal only, and not with NO_COLOR.

use console::style;

/// All is well.
pub fn good(text: &str) -> String {
    style(text).green().to_string()
}

/// Somebody should look at it.
pub fn doubtful(text: &str) -> String {
    style(text).yellow().to_string()
}

/// It does not work.
pub fn bad(text: &str) -> String {
    style(text).red().bold().to_string()
}

/// Headlines.
pub fn headline(text: &str) -> String {
    style(text).bold().to_string()
}
