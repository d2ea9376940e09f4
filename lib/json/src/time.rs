//! Times as they stand in events. Knows no clock.
//!
//! Accepted are RFC 3339 (`2018-10-10T20:19:24Z`, with any offset and fraction), Twitter's own format
//! (`Wed Oct 10 20:19:24 +0000 2018`), and milliseconds since 1970 as a whole number or the same in a string.
//! Seconds since 1970 are not: they cannot be told from milliseconds.

use crate::{Fault, FieldError, text};
use chrono::DateTime;

/// How Twitter writes its times.
const TWITTER: &str = "%a %b %d %H:%M:%S %z %Y";
/// How much of an unreadable time is shown.
const SHOWN_CHARS: usize = 40;

/// Reads a raw JSON value as a time, ms since 1970.
///
/// # Errors
/// Missing, of a wrong type, or not a time.
pub fn of(pointer: &str, raw: Option<&str>) -> Result<i64, FieldError> {
    let text = text(pointer, raw)?;
    of_text(&text).map_err(|fault| FieldError::new(pointer, fault))
}

/// Reads a text as a time, ms since 1970.
pub(crate) fn of_text(text: &str) -> Result<i64, Fault> {
    let shown = || text.chars().take(SHOWN_CHARS).collect();
    parse(text).ok_or_else(|| Fault::NotATime(shown()))
}

/// Reads a text as a time, ms since 1970; `None` when it is not one.
pub fn parse(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        return text.parse().ok();
    }
    let time =
        DateTime::parse_from_rfc3339(text).or_else(|_| DateTime::parse_from_str(text, TWITTER));
    Some(time.ok()?.timestamp_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_formats_name_the_same_moment() {
        for text in [
            "2018-10-10T20:19:24Z",
            "2018-10-10T22:19:24.000+02:00",
            "Wed Oct 10 20:19:24 +0000 2018",
            "1539202764000",
        ] {
            assert_eq!(parse(text), Some(1_539_202_764_000), "{text}");
        }
        assert_eq!(parse("-5"), Some(-5));
        assert_eq!(parse("2018-10-10T20:19:24.5Z"), Some(1_539_202_764_500));
    }

    #[test]
    fn what_is_no_time_is_refused_in_words() {
        for text in [
            "",
            "-",
            "yesterday",
            "2018-10-10",
            "1.5e12",
            "99999999999999999999",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(
            of("/at", Some("\"soon\"")).unwrap_err().to_string(),
            "`/at` is not a time: \"soon\" is neither RFC 3339, nor Twitter's format, nor milliseconds since 1970"
        );
        assert_eq!(of("/at", None).unwrap_err().to_string(), "`/at` is missing");
        assert_eq!(of("/at", Some("12")), Ok(12));
    }
}
