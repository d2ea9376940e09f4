//! What the documentation names is there: tests, other documents, chapters of the manual.

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

/// All documents, but not those of others that lie in folders of tools.
fn documents(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default();
        if path.is_dir() {
            let is_ours = name != "target" && name != "node_modules" && name != ".git";
            if is_ours && !path.is_symlink() {
                documents(&path, found)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
    Ok(())
}

/// Without what is shown as typed.
fn prose(text: &str) -> String {
    let outside = text.split("```").step_by(2).collect::<String>();
    outside.split('`').step_by(2).collect()
}

/// Where the links lead.
fn links(text: &str) -> Vec<String> {
    let prose = prose(text);
    let targets = prose.split("](").skip(1);
    let targets = targets.filter_map(|rest| rest.split(')').next());
    targets.map(str::to_owned).collect()
}

/// A heading's name in addresses, as code hosts and the page make it.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter_map(|c| match c {
        ' ' | '-' => Some('-'),
        c if c.is_alphanumeric() || c == '_' => Some(c),
        _ => None,
    });
    kept.flat_map(char::to_lowercase).collect()
}

fn has_anchor(document: &Path, wanted: &str) -> Result<bool> {
    let text = fs::read_to_string(document)?;
    let outside = text.split("```").step_by(2).flat_map(str::lines);
    let mut headings = outside.filter(|line| line.starts_with('#'));
    Ok(headings.any(|line| anchor(line.trim_start_matches('#')) == wanted))
}

#[test]
fn links_between_documents_lead_somewhere() -> Result<()> {
    let mut all = Vec::new();
    documents(&root(), &mut all)?;
    let mut count = 0;
    for document in &all {
        let here = document.display();
        let folder = document.parent().context("a folder")?;
        for link in links(&fs::read_to_string(document)?) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (path, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = match path {
                "" => document.clone(),
                path => folder.join(path),
            };
            ensure!(target.exists(), "{here}: {link} is not there");
            let leads = anchor.is_empty() || has_anchor(&target, anchor)?;
            ensure!(leads, "{here}: {link}: there is no such heading");
            count += 1;
        }
    }
    ensure!(count > 100, "only {count} links found");
    Ok(())
}

/// What the page serves as its manual, by the name that its address has.
fn is_chapter(name: &str) -> Result<bool> {
    let manual = fs::read_to_string(root().join("rtf/src/manual.rs"))?;
    Ok(manual.contains(&format!("chapter!(\"{name}\")")))
}

#[test]
fn alerts_lead_to_chapters_of_the_manual() -> Result<()> {
    let alerts = fs::read_to_string(root().join("deploy/prometheus/alerts.yml"))?;
    let links: Vec<_> = alerts.split("/manual/").skip(1).collect();
    ensure!(links.len() > 15, "{} links", links.len());
    for link in links {
        let link = link.split('\'').next().unwrap_or_default();
        let (chapter, anchor) = link.split_once('#').unwrap_or((link, ""));
        ensure!(is_chapter(chapter)?, "{link}: the page has no such chapter");
        let document = root().join(format!("docs/{chapter}.md"));
        let leads = anchor.is_empty() || has_anchor(&document, anchor)?;
        ensure!(leads, "{link}: there is no such heading");
    }
    Ok(())
}
