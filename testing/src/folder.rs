//! Temporary folders that can be kept for a look at what happened.

use anyhow::{Context, Result};
use tempfile::TempDir;

/// The environment variable that keeps every folder of the harness.
const KEEP_VARIABLE: &str = "RTF_KEEP";

/// A folder that is removed when it is dropped, unless `RTF_KEEP` is set; then its path is printed.
pub fn temp_folder(what: &str) -> Result<TempDir> {
    let keep = std::env::var_os(KEEP_VARIABLE).is_some();
    let folder = tempfile::Builder::new()
        .prefix(&format!("rtf-{what}-"))
        .disable_cleanup(keep)
        .tempdir()
        .with_context(|| format!("no temporary folder for {what}"))?;
    if keep {
        eprintln!(
            "{KEEP_VARIABLE}: {what} lives in {}",
            folder.path().display()
        );
    }
    Ok(folder)
}
