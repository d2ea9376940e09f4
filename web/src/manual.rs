//! The manual: chapters written in Markdown become pages, so that who is told to read on finds the words of this very version,
//! also without a way to the outside. Pure. It must not know what they are about.

use crate::Chapter;
use pulldown_cmark::{CowStr, Event, HeadingLevel, Options, Parser, Tag, TagEnd, html};
use std::collections::HashMap;

/// A chapter as a page shows it.
pub(crate) struct Page {
    /// Its name in addresses.
    pub(crate) name: &'static str,
    /// Its first heading, as plain text.
    pub(crate) title: String,
    /// What follows that, as HTML.
    pub(crate) body: String,
}

/// The chapters as pages.
pub(crate) fn pages(chapters: &[Chapter]) -> Vec<Page> {
    let page = |chapter: &Chapter| page(chapter, chapters);
    chapters.iter().map(page).collect()
}

fn page(chapter: &Chapter, chapters: &[Chapter]) -> Page {
    let mut events: Vec<Event<'_>> =
        Parser::new_ext(chapter.text, Options::ENABLE_TABLES).collect();
    let title = take_title(&mut events).unwrap_or_else(|| chapter.name.to_owned());
    name_headings(&mut events);
    let mut links = Links::new(chapters);
    let events = events.into_iter().filter_map(|event| links.keep(event));
    let mut body = String::new();
    html::push_html(&mut body, events);
    Page {
        name: chapter.name,
        title,
        body: accessible(&body),
    }
}

/// What is wider than a phone can be scrolled by keyboard, and no heading of a table is empty. Text cannot be mistaken for this
/// markup: in it `<` is escaped.
fn accessible(body: &str) -> String {
    body.replace("<pre>", "<pre tabindex=\"0\">")
        .replace("<th></th>", "<td></td>")
}

/// A heading's name in addresses: as code hosts make it, so that links in the documents are good there and here.
pub fn slug(heading: &str) -> String {
    let kept = heading.chars().filter_map(|c| match c {
        ' ' | '-' => Some('-'),
        c if c.is_alphanumeric() || c == '_' => Some(c),
        _ => None,
    });
    kept.flat_map(char::to_lowercase).collect()
}

/// The first heading is the page's own, and not part of its body.
fn take_title(events: &mut Vec<Event<'_>>) -> Option<String> {
    if !is_top(events.first()?) {
        return None;
    }
    let end = events
        .iter()
        .position(|event| matches!(event, Event::End(TagEnd::Heading(_))))?;
    let heading: Vec<_> = events.drain(..=end).collect();
    Some(plain(&heading))
}

fn is_top(event: &Event<'_>) -> bool {
    let top = HeadingLevel::H1;
    matches!(event, Event::Start(Tag::Heading { level, .. }) if *level == top)
}

fn name_headings(events: &mut [Event<'_>]) {
    let mut seen: HashMap<String, usize> = HashMap::new();
    for at in 0..events.len() {
        let Event::Start(Tag::Heading { .. }) = events[at] else {
            continue;
        };
        let name = slug(&plain(&events[at..]));
        let times = seen.entry(name.clone()).or_default();
        let unique = match *times {
            0 => name,
            times => format!("{name}-{times}"),
        };
        *times += 1;
        if let Event::Start(Tag::Heading { id, .. }) = &mut events[at] {
            *id = Some(unique.into());
        }
    }
}

/// The text of the heading that the events begin with.
fn plain(events: &[Event<'_>]) -> String {
    let heading = events
        .iter()
        .take_while(|event| !matches!(event, Event::End(TagEnd::Heading(_))));
    let texts = heading.filter_map(|event| match event {
        Event::Text(text) | Event::Code(text) => Some(&**text),
        _ => None,
    });
    texts.collect()
}

/// Keeps links that lead somewhere from here, and of all others only the words.
struct Links<'a> {
    chapters: &'a [Chapter],
    /// Whether the links that are open are kept.
    open: Vec<bool>,
}

impl<'a> Links<'a> {
    fn new(chapters: &'a [Chapter]) -> Self {
        let open = Vec::new();
        Self { chapters, open }
    }

    fn keep<'e>(&mut self, event: Event<'e>) -> Option<Event<'e>> {
        match event {
            Event::Start(Tag::Link {
                link_type,
                dest_url,
                title,
                id,
            }) => {
                let target = self.target(&dest_url);
                self.open.push(target.is_some());
                let dest_url = CowStr::from(target?);
                Some(Event::Start(Tag::Link {
                    link_type,
                    dest_url,
                    title,
                    id,
                }))
            }
            Event::End(TagEnd::Link) => {
                let kept = self.open.pop().unwrap_or(false);
                kept.then_some(Event::End(TagEnd::Link))
            }
            Event::Start(Tag::Image { .. }) | Event::End(TagEnd::Image) => None,
            // The policy lets nothing of it work, and it is not what the documents are written in.
            Event::Html(text) | Event::InlineHtml(text) => Some(Event::Text(text)),
            other => Some(other),
        }
    }

    fn target(&self, link: &str) -> Option<String> {
        if link.starts_with('#') || link.starts_with("https://") {
            return Some(link.to_owned());
        }
        let (file, heading) = link.split_once('#').unwrap_or((link, ""));
        let name = file.strip_suffix(".md")?;
        let chapter = self.chapters.iter().find(|c| c.name == name)?;
        let hash = if heading.is_empty() { "" } else { "#" };
        Some(format!("/manual/{}{hash}{heading}", chapter.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHAPTERS: [Chapter; 2] = [
        Chapter {
            name: "one",
            text: "# The *first* `one`\n\nSee [two](two.md#a-b), [there](#x), [the reasons](adr/0001.md), ![a picture](x.png).\n\n## A & b, twice\n\n## A & b, twice\n\n<script>alert(1)</script>\n\n    code <pre>\n\n| a | |\n|---|---|\n| `<i>` | 2 |\n",
        },
        Chapter {
            name: "two",
            text: "no heading",
        },
    ];

    #[test]
    fn a_chapter_becomes_a_page() {
        let [one, two] = &pages(&CHAPTERS)[..] else {
            panic!("two chapters are two pages")
        };
        assert_eq!((one.name, one.title.as_str()), ("one", "The first one"));
        assert!(one.body.contains("<h2 id=\"a--b-twice\">"), "{}", one.body);
        assert!(
            one.body.contains("<h2 id=\"a--b-twice-1\">"),
            "{}",
            one.body
        );
        assert!(
            one.body.contains("<td><code>&lt;i&gt;</code></td>"),
            "{}",
            one.body
        );
        assert_eq!(
            (two.title.as_str(), two.body.as_str()),
            ("two", "<p>no heading</p>\n")
        );
    }

    #[test]
    fn code_can_be_scrolled_by_keyboard_and_no_heading_is_empty() {
        let one = &pages(&CHAPTERS)[0];
        assert!(
            one.body
                .contains("<pre tabindex=\"0\"><code>code &lt;pre&gt;\n"),
            "{}",
            one.body
        );
        assert!(one.body.contains("<th>a</th><td></td>"), "{}", one.body);
    }

    #[test]
    fn only_links_that_lead_somewhere_are_links() {
        let one = &pages(&CHAPTERS)[0];
        assert!(
            one.body.contains("<a href=\"/manual/two#a-b\">two</a>"),
            "{}",
            one.body
        );
        assert!(
            one.body
                .contains("<a href=\"#x\">there</a>, the reasons, a picture."),
            "{}",
            one.body
        );
    }

    #[test]
    fn markup_in_a_chapter_is_text() {
        let one = &pages(&CHAPTERS)[0];
        assert!(
            one.body.contains("&lt;script&gt;") && !one.body.contains("<script"),
            "{}",
            one.body
        );
    }
}
