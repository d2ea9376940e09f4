//! Raw values at pointers, found in one pass over a document. Does not interpret them.

use crate::pointer::{MAX_POINTERS, Node, Trie};
use crate::{JsonError, PointerError};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

/// Looks for the values at a set of pointers.
///
/// Where an object has a name twice, the last one counts, as in most parsers. Documents may be nested to any depth:
/// what no pointer leads into is checked without recursion.
#[derive(Debug)]
pub struct Finder {
    trie: Trie,
}

/// What a [`Finder`] found; borrows the finder and the document.
#[derive(Debug)]
pub struct Found<'f, 'j> {
    slots: Slots<'j>,
    order: &'f [usize],
}

type Slots<'j> = [Option<&'j str>; MAX_POINTERS];

impl<'j> Found<'_, 'j> {
    /// The raw JSON of the value at the pointer with this number, without white space around it.
    pub fn get(&self, pointer: usize) -> Option<&'j str> {
        self.slots[self.order[pointer]]
    }
}

impl Finder {
    /// Compiles the pointers; [`Found`] is indexed in their order.
    ///
    /// # Errors
    /// A text that is no JSON pointer, or too many.
    pub fn new<P: AsRef<str>>(pointers: &[P]) -> Result<Self, PointerError> {
        Ok(Self {
            trie: Trie::new(pointers)?,
        })
    }

    /// Finds the values and checks the whole document.
    ///
    /// # Errors
    /// The bytes are not one JSON document in UTF-8.
    pub fn find<'j>(&self, json: &'j [u8]) -> Result<Found<'_, 'j>, JsonError> {
        let json = std::str::from_utf8(json).map_err(|e| JsonError::Utf8(e.valid_up_to()))?;
        let mut slots = [None; MAX_POINTERS];
        let mut parser = serde_json::Deserializer::from_str(json);
        let walk = Walk {
            node: &self.trie.root,
            slots: &mut slots,
        };
        walk.deserialize(&mut parser)?;
        parser.end()?;
        Ok(Found {
            slots,
            order: &self.trie.slots,
        })
    }
}

/// One step of the walk: a node of the trie meets a value of the document.
struct Walk<'t, 's, 'j> {
    node: &'t Node,
    slots: &'s mut Slots<'j>,
}

impl<'j> DeserializeSeed<'j> for Walk<'_, '_, 'j> {
    type Value = ();

    fn deserialize<D: Deserializer<'j>>(self, value: D) -> Result<(), D::Error> {
        // An earlier member of the same name counts no more, nor does anything found in it.
        self.slots[self.node.below.clone()].fill(None);
        let Some(slot) = self.node.slot else {
            return value.deserialize_any(self);
        };
        let raw = <&RawValue>::deserialize(value)?.get();
        self.slots[slot] = Some(raw);
        if self.node.children.is_empty() {
            return Ok(());
        }
        serde_json::Deserializer::from_str(raw)
            .deserialize_any(self)
            .map_err(D::Error::custom)
    }
}

impl<'j> Visitor<'j> for Walk<'_, '_, 'j> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_map<A: MapAccess<'j>>(self, mut members: A) -> Result<(), A::Error> {
        let Self { node, slots } = self;
        while let Some(step) = members.next_key_seed(Step(node))? {
            match step {
                Some(node) => members.next_value_seed(Walk { node, slots })?,
                None => drop(members.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'j>>(self, mut elements: A) -> Result<(), A::Error> {
        let Self { node, slots } = self;
        for index in 0.. {
            let more = match node.indexed(index) {
                Some(node) => elements.next_element_seed(Walk { node, slots })?,
                None => elements.next_element::<IgnoredAny>()?.map(drop),
            };
            if more.is_none() {
                break;
            }
        }
        Ok(())
    }

    // No pointer leads into a scalar.
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
}

/// Reads a member's name: does a pointer lead on?
struct Step<'t>(&'t Node);

impl<'t, 'j> DeserializeSeed<'j> for Step<'t> {
    type Value = Option<&'t Node>;

    fn deserialize<D: Deserializer<'j>>(self, name: D) -> Result<Self::Value, D::Error> {
        name.deserialize_str(self)
    }
}

impl<'t> Visitor<'_> for Step<'t> {
    type Value = Option<&'t Node>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member's name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.named(name))
    }
}
