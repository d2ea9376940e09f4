//! JSON pointers, compiled into one trie. Knows no document.

use std::ops::Range;

/// The most pointers one finder looks for.
pub const MAX_POINTERS: usize = 32;
/// The most steps one pointer takes. The walk recurses once a step, and the parser allows 127.
pub const MAX_DEPTH: usize = 64;

/// Why a text is not a usable JSON pointer, or no other field.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PointerError {
    /// It does not begin with a slash.
    #[error("`{0}` is not a JSON pointer: it must begin with `/`")]
    NoSlash(String),
    /// It begins with `@` and names no part of a record.
    #[error(
        "`{0}` is no field: besides JSON pointers there are `@key` and `@header.NAME`, and for times `@timestamp`"
    )]
    NoField(String),
    /// A tilde that escapes nothing.
    #[error("`{0}` is not a JSON pointer: `~` must be followed by 0 or 1")]
    BadEscape(String),
    /// More than [`MAX_DEPTH`] steps.
    #[error("`{0}` has more than {MAX_DEPTH} steps")]
    TooDeep(String),
    /// More than [`MAX_POINTERS`].
    #[error("{0} JSON pointers, at most {MAX_POINTERS} are accepted")]
    TooMany(usize),
    /// A key needs something to be made of.
    #[error("a key needs at least one field")]
    NoKey,
}

/// One step's place in the trie.
#[derive(Default, Debug)]
pub(crate) struct Node {
    /// Where its own value goes, if a pointer ends here.
    pub(crate) slot: Option<usize>,
    /// The slots of this node and of all below it.
    pub(crate) below: Range<usize>,
    /// The steps that lead on.
    pub(crate) children: Vec<Child>,
}

#[derive(Debug)]
pub(crate) struct Child {
    /// Name of an object's member, unescaped.
    pub(crate) name: Box<str>,
    /// The same as an array's index, where it is one.
    pub(crate) index: Option<usize>,
    pub(crate) node: Node,
}

/// Pointers as a trie. Slots are numbered depth first, so that a node's descendants have neighbouring slots.
#[derive(Debug)]
pub(crate) struct Trie {
    pub(crate) root: Node,
    /// The slot of each pointer, in the order they were given.
    pub(crate) slots: Vec<usize>,
}

impl Trie {
    pub(crate) fn new<P: AsRef<str>>(pointers: &[P]) -> Result<Self, PointerError> {
        if pointers.len() > MAX_POINTERS {
            return Err(PointerError::TooMany(pointers.len()));
        }
        let paths = pointers
            .iter()
            .map(|pointer| steps(pointer.as_ref()))
            .collect::<Result<Vec<_>, _>>()?;
        let mut root = Node::default();
        for path in &paths {
            // Marked now, numbered when the trie is whole.
            root.reach(path).slot = Some(0);
        }
        root.number(&mut 0);
        let slots = paths.iter().filter_map(|path| root.slot_of(path)).collect();
        Ok(Self { root, slots })
    }
}

impl Node {
    fn reach(&mut self, path: &[String]) -> &mut Node {
        let Some((step, rest)) = path.split_first() else {
            return self;
        };
        let known = self.children.iter().position(|c| *c.name == **step);
        let at = known.unwrap_or_else(|| {
            self.children.push(Child {
                name: step.as_str().into(),
                index: index(step),
                node: Node::default(),
            });
            self.children.len() - 1
        });
        self.children[at].node.reach(rest)
    }

    fn number(&mut self, next: &mut usize) {
        let first = *next;
        if self.slot.is_some() {
            self.slot = Some(first);
            *next += 1;
        }
        for child in &mut self.children {
            child.node.number(next);
        }
        self.below = first..*next;
    }

    fn slot_of(&self, path: &[String]) -> Option<usize> {
        match path.split_first() {
            None => self.slot,
            Some((step, rest)) => self.named(step)?.slot_of(rest),
        }
    }

    /// The step for an object's member.
    pub(crate) fn named(&self, name: &str) -> Option<&Node> {
        let child = self.children.iter().find(|c| *c.name == *name)?;
        Some(&child.node)
    }

    /// The step for an array's element.
    pub(crate) fn indexed(&self, index: usize) -> Option<&Node> {
        let child = self.children.iter().find(|c| c.index == Some(index))?;
        Some(&child.node)
    }
}

fn steps(pointer: &str) -> Result<Vec<String>, PointerError> {
    if pointer.is_empty() {
        return Ok(Vec::new());
    }
    let path = pointer
        .strip_prefix('/')
        .ok_or_else(|| PointerError::NoSlash(pointer.into()))?;
    let steps = path
        .split('/')
        .map(unescape)
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| PointerError::BadEscape(pointer.into()))?;
    if steps.len() > MAX_DEPTH {
        return Err(PointerError::TooDeep(pointer.into()));
    }
    Ok(steps)
}

fn unescape(step: &str) -> Option<String> {
    let mut parts = step.split('~');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let mut chars = part.chars();
        out.push(match chars.next()? {
            '0' => '~',
            '1' => '/',
            _ => return None,
        });
        out.push_str(chars.as_str());
    }
    Some(out)
}

/// RFC 6901 §4: digits without a leading zero.
fn index(step: &str) -> Option<usize> {
    let digits = step.bytes().all(|b| b.is_ascii_digit());
    if !digits || (step.len() > 1 && step.starts_with('0')) {
        return None;
    }
    step.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_pointers_are_refused_with_their_text() {
        let error = |pointer: &str| Trie::new(&[pointer]).unwrap_err();
        assert_eq!(error("id"), PointerError::NoSlash("id".into()));
        assert_eq!(error("/a~2"), PointerError::BadEscape("/a~2".into()));
        assert_eq!(error("/a~"), PointerError::BadEscape("/a~".into()));
        let deep = "/a".repeat(MAX_DEPTH + 1);
        assert_eq!(error(&deep), PointerError::TooDeep(deep.clone()));
        let many = vec!["/a"; MAX_POINTERS + 1];
        let refused = Trie::new(&many).unwrap_err();
        assert_eq!(refused, PointerError::TooMany(MAX_POINTERS + 1));
    }

    #[test]
    fn escapes_and_indices_are_read() {
        assert_eq!(unescape("a~1b~0~01").as_deref(), Some("a/b~~1"));
        assert_eq!(index("0"), Some(0));
        assert_eq!(index("12"), Some(12));
        assert_eq!(index("01"), None);
        assert_eq!(index("+1"), None);
        assert_eq!(index(""), None);
    }
}
