//! Whether a figure stays flat along a curve, in a sentence. Pure.

/// A figure that stays within so many hundredths of the first one is flat.
pub const TOLERANCE_PERCENT: f64 = 15.0;

/// `points`: each with its median; none where nothing was measured.
pub fn verdict(figure: &str, points: &[(&str, Option<f64>)]) -> String {
    let ratios = ratios(points);
    let Some(((first, _), others)) = ratios.as_deref().and_then(<[_]>::split_first) else {
        return format!("{figure}: not known, as points are missing.");
    };
    let by_ratio = |a: &&(&str, f64), b: &&(&str, f64)| a.1.total_cmp(&b.1);
    let (least, most) = (
        others.iter().min_by(by_ratio),
        others.iter().max_by(by_ratio),
    );
    let (Some(least), Some(most)) = (least, most) else {
        return format!("{figure}: not known, as there is one point only.");
    };
    let is_flat = [least, most]
        .iter()
        .all(|(_, ratio)| percent(*ratio).abs() <= TOLERANCE_PERCENT);
    let word = if is_flat { "flat" } else { "not flat" };
    let between = if least.0 == most.0 {
        change(*least)
    } else {
        format!("between {} and {}", change(*least), change(*most))
    };
    format!("{figure}: **{word}** within ±{TOLERANCE_PERCENT} %. Beside {first} it is {between}.")
}

/// Each figure beside the first one.
fn ratios<'a>(points: &[(&'a str, Option<f64>)]) -> Option<Vec<(&'a str, f64)>> {
    let first = points.first()?.1?;
    points
        .iter()
        .map(|(label, figure)| Some((*label, (*figure)? / first)))
        .collect()
}

/// As it is written.
fn percent(ratio: f64) -> f64 {
    ((ratio - 1.0) * 100.0).round()
}

fn change((label, ratio): (&str, f64)) -> String {
    if ratio >= 2.0 {
        return format!("{ratio:.1} times as much ({label})");
    }
    let percent = format!("{:+} %", percent(ratio)).replace('-', "−");
    format!("{percent} ({label})")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(figures: &[Option<f64>]) -> String {
        let labels = ["4", "8", "16"];
        let points: Vec<_> = labels.into_iter().zip(figures.iter().copied()).collect();
        verdict("CPU", &points)
    }

    #[test]
    fn flat_is_what_stays_within_the_tolerance_of_the_first() {
        assert_eq!(
            said(&[Some(20.0), Some(17.0), Some(23.0)]),
            "CPU: **flat** within ±15 %. Beside 4 it is between −15 % (8) and +15 % (16)."
        );
    }

    #[test]
    fn what_is_not_flat_says_by_how_much() {
        assert_eq!(
            said(&[Some(10.0), Some(11.6), Some(31.0)]),
            "CPU: **not flat** within ±15 %. Beside 4 it is between +16 % (8) and 3.1 times as much (16)."
        );
        assert_eq!(
            said(&[Some(10.0), Some(8.0)]),
            "CPU: **not flat** within ±15 %. Beside 4 it is −20 % (8)."
        );
    }

    #[test]
    fn nothing_is_said_of_what_was_not_measured() {
        let unknown = "CPU: not known, as points are missing.";
        assert_eq!(said(&[Some(10.0), None, Some(10.0)]), unknown);
        assert_eq!(said(&[None, Some(10.0)]), unknown);
        assert_eq!(said(&[]), unknown);
        assert_eq!(
            said(&[Some(10.0)]),
            "CPU: not known, as there is one point only."
        );
    }
}
