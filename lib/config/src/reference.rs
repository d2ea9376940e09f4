//! Texts that stand elsewhere: `${file:PATH}` and `${env:NAME}`, written as for Kafka's own configuration providers.

use std::fs;

/// What stands around a reference.
const OPEN: &str = "${";
const CLOSE: char = '}';

/// The text with what its references stand for. Whatever else is in braces stays as it is.
///
/// # Errors
/// A file that cannot be read, a variable that is not set, or either of them empty; the words never hold a secret.
pub(crate) fn resolved(text: &str) -> Result<String, String> {
    let mut whole = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(OPEN) {
        whole += before;
        match after.split_once(CLOSE).and_then(|(inside, after)| {
            let (provider, name) = inside.split_once(':')?;
            Some((read(provider, name)?, after))
        }) {
            Some((value, after)) => {
                whole += &value?;
                rest = after;
            }
            None => {
                whole += OPEN;
                rest = after;
            }
        }
    }
    Ok(whole + rest)
}

/// Whether the text is one reference and nothing else, and so may be shown.
pub(crate) fn is_one(text: &str) -> bool {
    let inside = text
        .strip_prefix(OPEN)
        .and_then(|text| text.strip_suffix(CLOSE));
    inside.is_some_and(|inside| {
        let is_known = inside.starts_with("file:") || inside.starts_with("env:");
        is_known && !inside.contains(CLOSE)
    })
}

/// `None`: that is no reference of ours.
fn read(provider: &str, name: &str) -> Option<Result<String, String>> {
    match provider {
        "file" => Some(file(name)),
        "env" => Some(variable(name)),
        _ => None,
    }
}

/// Editors and `echo` end a file with a line break, which belongs to no password.
fn file(path: &str) -> Result<String, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("${{file:{path}}}: {error}"))?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(format!("${{file:{path}}}: the file is empty")),
        text => Ok(text.to_owned()),
    }
}

fn variable(name: &str) -> Result<String, String> {
    match std::env::var(name) {
        Ok(text) if !text.is_empty() => Ok(text),
        Ok(_) => Err(format!("${{env:{name}}}: the variable is empty")),
        Err(error) => Err(format!("${{env:{name}}}: {}", unset(&error))),
    }
}

/// The error itself would repeat a value that is no Unicode.
fn unset(error: &std::env::VarError) -> &'static str {
    match error {
        std::env::VarError::NotPresent => "the variable is not set",
        std::env::VarError::NotUnicode(_) => "the variable is no text",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn references_are_replaced_wherever_they_stand() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"p w}\r\n").unwrap();
        let path = file.path().display();
        for (text, whole) in [
            (format!("${{file:{path}}}"), "p w}"),
            (format!("a${{file:{path}}}b${{file:{path}}}"), "ap w}bp w}"),
            ("${other:x} ${file ${".into(), "${other:x} ${file ${"),
            (String::new(), ""),
        ] {
            assert_eq!(resolved(&text).as_deref(), Ok(whole), "{text}");
        }
        // Cargo sets it for whatever it runs.
        let manifest = resolved("<${env:CARGO_MANIFEST_DIR}>").unwrap();
        assert_eq!(manifest, format!("<{}>", env!("CARGO_MANIFEST_DIR")));
    }

    #[test]
    fn what_cannot_be_had_is_named() {
        let empty = tempfile::NamedTempFile::new().unwrap();
        let empty = format!("${{file:{}}}", empty.path().display());
        for (text, words) in [
            ("${file:/nowhere/at/all}", "${file:/nowhere/at/all}: "),
            ("${env:RTF_IS_NOT_SET}", "is not set"),
            (empty.as_str(), "the file is empty"),
        ] {
            let error = resolved(text).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn only_a_lone_reference_may_be_shown() {
        assert!(is_one("${file:/run/secrets/x}") && is_one("${env:X}"));
        for text in ["", "x", "${x}", "x${env:X}", "${env:X}secret}", "${env:X}x"] {
            assert!(!is_one(text), "{text}");
        }
    }
}
