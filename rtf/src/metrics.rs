//! What each metric means, said once: docs/metrics.md is the source of the `# HELP` lines at `/metrics`. Knows its tables, not who counts what.

/// The page.
const PAGE: &str = include_str!("../../docs/metrics.md");

/// A metric as the page has it.
struct Metric<'p> {
    name: &'p str,
    kind: &'p str,
    /// Without the page's marks.
    help: String,
}

/// Describes all metrics to the recorder that is installed by now.
pub fn describe() {
    for Metric { name, kind, help } in on_page(PAGE) {
        let name = name.to_owned();
        match kind {
            "counter" => metrics::describe_counter!(name, help),
            "gauge" => metrics::describe_gauge!(name, help),
            _ => metrics::describe_histogram!(name, help),
        }
    }
}

/// Rows of its tables: name, type, labels, unit, what it says, when to worry.
fn on_page(page: &str) -> impl Iterator<Item = Metric<'_>> {
    page.lines().filter_map(|line| {
        let mut cells = line.split('|').map(str::trim);
        let name = cells.nth(1)?.strip_prefix('`')?.strip_suffix('`')?;
        let kind = cells.next()?;
        let help = cells.nth(2)?.replace('`', "");
        Some(Metric { name, kind, help })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_page_has_a_type_and_words() {
        let mut count = 0;
        for Metric { name, kind, help } in on_page(PAGE) {
            count += 1;
            assert!(
                name.starts_with("rtf_") || name.starts_with("process_"),
                "{name}"
            );
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{name}");
            assert!(help.ends_with('.') && !help.contains("]("), "{name}");
        }
        assert!(count > 50, "{count}");
    }

    #[test]
    fn what_the_page_says_is_served() {
        let served = rtf_service::metrics::install();
        describe();
        metrics::gauge!("rtf_registry_ids").set(3.0);
        let text = served.render();
        let line = "# HELP rtf_registry_ids Ids remembered.\n# TYPE rtf_registry_ids gauge\nrtf_registry_ids 3\n";
        assert!(text.contains(line), "{text}");
    }
}
