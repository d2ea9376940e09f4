//! The tests that the documentation names are there.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

const DOCS: [&str; 3] = ["docs/rules.md", "docs/guarantees.md", "docs/proof-model.md"];
/// End-to-end tests go by the names of their files.
const END_TO_END: &str = "testing/tests";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

fn is_name(text: &str) -> bool {
    text.matches('_').count() > 1 && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// A file of tests, by its path or by its name.
fn source(path: &str) -> Result<String> {
    let tried = [root().join(path), root().join(END_TO_END).join(path)];
    let found = tried.iter().find(|path| path.is_file());
    Ok(fs::read_to_string(
        found.with_context(|| format!("{path} is not there"))?,
    )?)
}

/// `path.rs: name`, `path.rs`, and `name` for another one of the file that was named before; `path.mjs: words` for a test in a browser.
#[test]
fn the_tests_that_are_named_are_there() -> Result<()> {
    for document in DOCS {
        let text = fs::read_to_string(root().join(document))?;
        let (mut tests, mut names) = (String::new(), 0);
        for quoted in quoted(&text) {
            let (path, name) = quoted.split_once(": ").unwrap_or((quoted, ""));
            if path.ends_with(".rs") || path.ends_with(".mjs") {
                tests = source(path).with_context(|| document)?;
            }
            if path.ends_with(".mjs") {
                let is_there = name.is_empty() || tests.contains(&format!("test(\"{name}\","));
                ensure!(is_there, "{document}: {path} has no test \"{name}\"");
                continue;
            }
            let name = if is_name(path) { path } else { name };
            if is_name(name) {
                names += 1;
                let is_there = tests.contains(&format!("fn {name}("));
                ensure!(
                    is_there,
                    "{document}: no test {name} where it is said to be"
                );
            }
        }
        ensure!(names > 10, "{document} names {names} tests");
    }
    Ok(())
}
