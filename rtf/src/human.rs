//! Numbers and times as people read them.

use chrono::DateTime;

/// A time of the log, UTC; zero stands for the time before the log had settings.
pub fn time(ms: i64) -> String {
    match DateTime::from_timestamp_millis(ms) {
        Some(time) if ms > 0 => time.format("%Y-%m-%d %H:%M:%SZ").to_string(),
        _ => "the beginning".into(),
    }
}

/// How long something is, in its two largest units.
pub fn span(ms: i64) -> String {
    let seconds = ms / 1000;
    let (d, h, m, s) = (
        seconds / 86_400,
        seconds / 3600 % 24,
        seconds / 60 % 60,
        seconds % 60,
    );
    match (d, h, m, s) {
        (0, 0, 0, s) => format!("{s}s"),
        (0, 0, m, s) => join(m, 'm', s, 's'),
        (0, h, m, _) => join(h, 'h', m, 'm'),
        (d, h, ..) => join(d, 'd', h, 'h'),
    }
}

fn join(large: i64, unit: char, small: i64, smaller: char) -> String {
    if small == 0 {
        format!("{large}{unit}")
    } else {
        format!("{large}{unit}{small:02}{smaller}")
    }
}

/// A text in one line: what would move a terminal's cursor is shown as a dot.
pub fn printable(text: &str) -> String {
    let shown = text.chars().map(|c| if c.is_control() { '·' } else { c });
    shown.collect()
}

/// A count with its thousands apart.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The same of a figure that need not be whole.
pub fn about(number: f64) -> String {
    count(number.round() as u64)
}

/// A size in the largest unit that leaves a whole number before the point.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64;
    let mut unit = "";
    for next in UNITS {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    format!("{value:.1} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_are_written_for_people() {
        assert_eq!(time(1_700_000_000_123), "2023-11-14 22:13:20Z");
        assert_eq!(time(0), "the beginning");
        for (ms, text) in [
            (999, "0s"),
            (61_000, "1m01s"),
            (3_600_000, "1h"),
            (21_600_000, "6h"),
            (90_000_000, "1d01h"),
        ] {
            assert_eq!(span(ms), text);
        }
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(count(number), text);
        }
        for (size, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1536, "1.5 KiB"),
            (5 << 30, "5.0 GiB"),
        ] {
            assert_eq!(bytes(size), text);
        }
    }
}
