//! The manual that the page serves: what an operator is sent to by the page's own words.

use rtf_web::Chapter;

/// The chapters, in the order in which they are listed.
pub const CHAPTERS: [Chapter; 7] = [
    Chapter {
        name: "operations",
        text: include_str!("../../docs/operations.md"),
    },
    Chapter {
        name: "failure-modes",
        text: include_str!("../../docs/failure-modes.md"),
    },
    Chapter {
        name: "registry",
        text: include_str!("../../docs/registry.md"),
    },
    Chapter {
        name: "dead-letters",
        text: include_str!("../../docs/dead-letters.md"),
    },
    Chapter {
        name: "matching",
        text: include_str!("../../docs/matching.md"),
    },
    Chapter {
        name: "page",
        text: include_str!("../../docs/page.md"),
    },
    Chapter {
        name: "glossary",
        text: include_str!("../../docs/glossary.md"),
    },
];
