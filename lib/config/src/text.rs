//! Values that TOML can write in more than one way.

use crate::secret::{self, Secret};
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;

/// Librdkafka properties. `security.protocol = "SSL"` is a table in a table for TOML, `"security.protocol" = "SSL"`
/// is not; both mean the same here. A number or a boolean is taken as it is written.
pub(crate) fn properties<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, Secret>, D::Error> {
    let mut flat = BTreeMap::new();
    for (name, property) in BTreeMap::<String, Property>::deserialize(deserializer)? {
        property.flatten(name, &mut flat);
    }
    secret::properties(flat).map_err(de::Error::custom)
}

/// Without what is secret.
pub(crate) fn shown<S: Serializer>(
    properties: &BTreeMap<String, Secret>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    secret::shown_properties(properties).serialize(serializer)
}

enum Property {
    Value(String),
    Table(BTreeMap<String, Property>),
}

impl Property {
    fn flatten(self, name: String, flat: &mut BTreeMap<String, String>) {
        match self {
            Self::Value(text) => {
                flat.insert(name, text);
            }
            Self::Table(fields) => {
                for (step, property) in fields {
                    property.flatten(format!("{name}.{step}"), flat);
                }
            }
        }
    }
}

impl<'de> Deserialize<'de> for Property {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PropertyVisitor)
    }
}

struct PropertyVisitor;

impl<'de> Visitor<'de> for PropertyVisitor {
    type Value = Property;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<Property, E> {
        Ok(Property::Value(text.to_owned()))
    }
    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Property, E> {
        Ok(Property::Value(value.to_string()))
    }
    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Property, E> {
        Ok(Property::Value(value.to_string()))
    }
    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Property, E> {
        Ok(Property::Value(value.to_string()))
    }
    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Property, E> {
        Ok(Property::Value(value.to_string()))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Property, A::Error> {
        let mut fields = BTreeMap::new();
        while let Some((step, property)) = map.next_entry()? {
            fields.insert(step, property);
        }
        Ok(Property::Table(fields))
    }
}

/// An address; an empty text says that there is none.
pub(crate) mod optional {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};
    use std::net::SocketAddr;

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<SocketAddr>, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(D::Error::custom),
        }
    }

    pub(crate) fn serialize<S: Serializer>(
        address: &Option<SocketAddr>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match address {
            Some(address) => serializer.collect_str(address),
            None => serializer.serialize_str(""),
        }
    }
}
