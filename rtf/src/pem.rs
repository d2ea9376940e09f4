//! Certificates and keys in files.

use anyhow::Context;

/// What is in the file that `key` of the configuration names; `None` when it names none.
///
/// # Errors
/// It cannot be read; the words say which key and which file.
pub fn read(key: &str, path: &str) -> anyhow::Result<Option<Vec<u8>>> {
    if path.is_empty() {
        return Ok(None);
    }
    let bytes = std::fs::read(path).with_context(|| format!("[{key}] {path}"))?;
    Ok(Some(bytes))
}
