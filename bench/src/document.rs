//! Where tables and pictures go: between two marked lines of the document on performance; all else is its author's. Measures nothing.

use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

const DOCUMENT: &str = "performance.md";

/// A picture that stands under the tables.
pub struct Picture<'a> {
    /// Its file, in the folder of images.
    pub file: &'a str,
    /// What it shows, for who cannot see it.
    pub words: &'a str,
    pub svg: String,
}

/// Puts text and picture into this folder's document, where the lines of this writer are.
pub fn write(folder: &Path, writer: &str, text: &str, picture: &Picture<'_>) -> Result<()> {
    let Picture { file, words, svg } = picture;
    let images = folder.join("images");
    fs::create_dir_all(&images)?;
    fs::write(images.join(file), svg)?;
    let path = folder.join(DOCUMENT);
    let document = fs::read_to_string(&path).unwrap_or_default();
    let text = format!("{}\n\n![{words}](images/{file})", text.trim_end());
    let document = replaced(&document, &lines(writer), &text);
    fs::write(&path, document).with_context(|| format!("cannot write {}", path.display()))
}

/// The lines between which it writes.
fn lines(writer: &str) -> [String; 2] {
    ["begin", "end"].map(|place| format!("<!-- written by {writer}: {place} -->"))
}

/// The document with what stands between the two lines replaced; one without them gets them at its end.
fn replaced(document: &str, [begin, end]: &[String; 2], text: &str) -> String {
    let parts = document.split_once(begin).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(end)?;
        Some((before, after))
    });
    let (before, after) = parts.unwrap_or((document, "\n"));
    format!("{before}{begin}\n\n{text}\n\n{end}{after}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_between_the_lines_is_replaced() {
        let marks = lines("it");
        let [begin, end] = &marks;
        let document = format!("# head\n{begin}\nold\n{end}\ntail\n");
        let once = replaced(&document, &marks, "new");
        assert_eq!(once, format!("# head\n{begin}\n\nnew\n\n{end}\ntail\n"));
        assert_eq!(replaced(&once, &marks, "new"), once);
        let other = replaced(&once, &lines("another"), "more");
        assert!(other.starts_with(&once) && other.contains("more"));
    }
}
