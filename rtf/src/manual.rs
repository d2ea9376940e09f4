//! The manual that the page serves: what an operator is sent to by the page's own words.

use rtf_web::Chapter;

macro_rules! chapter {
    ($name:literal) => {
        Chapter {
            name: $name,
            text: include_str!(concat!("../../docs/", $name, ".md")),
        }
    };
}

/// The chapters, in the order in which they are listed.
pub const CHAPTERS: [Chapter; 10] = [
    chapter!("operations"),
    chapter!("sizing"),
    chapter!("failure-modes"),
    chapter!("registry"),
    chapter!("security"),
    chapter!("metrics"),
    chapter!("dead-letters"),
    chapter!("matching"),
    chapter!("page"),
    chapter!("glossary"),
];
