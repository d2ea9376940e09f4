//! rtf-bench
