//! Which node of a cluster has which slot, as one of them says. Pure.

use redis::cluster_routing::Slot;
use redis::{Value, from_redis_value, from_redis_value_ref};
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

/// What a node says of a host that it does not know.
const UNKNOWN_HOST: &str = "?";

/// Where a node of a cluster is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Node {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// The primaries, each with its slots.
#[derive(Default)]
pub(crate) struct Slots {
    owners: HashMap<Slot, Arc<Node>>,
    nodes: BTreeSet<Arc<Node>>,
}

impl Slots {
    /// Reads the answer to `CLUSTER SLOTS`: `[[first, last, [host, port, …], …], …]`, the primary before its replicas. A host that is not said is
    /// the one that was asked. `None` when that is no such answer.
    pub(crate) fn read(answer: Value, asked: &str) -> Option<Self> {
        let ranges: Vec<Vec<Value>> = from_redis_value(answer).ok()?;
        let mut slots = Self::default();
        for range in ranges {
            let [first, last, primary, ..] = range.as_slice() else {
                return None;
            };
            let first: u16 = from_redis_value_ref(first).ok()?;
            let last: u16 = from_redis_value_ref(last).ok()?;
            if let Some(node) = node(primary, asked)? {
                slots.give(first..=last, node);
            }
        }
        Some(slots)
    }

    fn give(&mut self, range: std::ops::RangeInclusive<u16>, node: Node) {
        let node = Arc::new(node);
        let slots = range.filter_map(Slot::new);
        self.owners.extend(slots.map(|slot| (slot, node.clone())));
        self.nodes.insert(node);
    }

    /// Who has a key's slot.
    pub(crate) fn owner(&self, key: &str) -> Option<&Arc<Node>> {
        self.owners.get(&Slot::for_key(key))
    }

    /// Who has any.
    pub(crate) fn nodes(&self) -> &BTreeSet<Arc<Node>> {
        &self.nodes
    }
}

/// `[host, port, …]`. The inner `None`: nobody knows where it is.
fn node(answer: &Value, asked: &str) -> Option<Option<Node>> {
    let fields: Vec<Value> = from_redis_value_ref(answer).ok()?;
    let [host, port, ..] = fields.as_slice() else {
        return None;
    };
    let host: Option<String> = from_redis_value_ref(host).ok()?;
    let host = host.filter(|host| !host.is_empty());
    let host = host.unwrap_or_else(|| asked.to_owned());
    let port = from_redis_value_ref(port).ok()?;
    Some((host != UNKNOWN_HOST).then_some(Node { host, port }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rtf_fuzz::fuzz;

    fn text(text: &str) -> Value {
        Value::BulkString(text.into())
    }

    fn range(first: i64, last: i64, host: Value, port: i64) -> Value {
        let node = |host, port| Value::Array(vec![host, Value::Int(port), text("id")]);
        Value::Array(vec![
            Value::Int(first),
            Value::Int(last),
            node(host, port),
            node(text("replica"), 1),
        ])
    }

    fn owner(slots: &Slots, key: &str) -> Option<String> {
        slots.owner(key).map(|node| node.to_string())
    }

    #[test]
    fn a_key_is_asked_of_who_has_its_slot() {
        let answer = Value::Array(vec![
            range(0, 5460, text("10.0.0.1"), 7000),
            range(5461, 10922, Value::Nil, 7001),
            range(10923, 16000, text(""), 7002),
            range(16001, 16383, text("?"), 0),
        ]);
        let slots = Slots::read(answer, "asked").expect("it is an answer");
        // Slots as `CLUSTER KEYSLOT` gives them: 1584, 9842, 13907.
        assert_eq!(
            owner(&slots, "j:joined:{3}").as_deref(),
            Some("10.0.0.1:7000")
        );
        assert_eq!(owner(&slots, "j:joined:{1}").as_deref(), Some("asked:7001"));
        assert_eq!(owner(&slots, "j:joined:{0}").as_deref(), Some("asked:7002"));
        assert_eq!(slots.nodes().len(), 3);
        // Of a node that nobody can find.
        assert_eq!(slots.owners.get(&Slot::new(16001).expect("a slot")), None);
    }

    /// Whatever a server says: no panic, and nobody is believed to have more slots than there are.
    #[test]
    fn fuzz_slots() {
        let replies: [&[u8]; 4] = [
            b"*2\r\n*3\r\n:0\r\n:5460\r\n*2\r\n$1\r\na\r\n:7000\r\n*4\r\n:5461\r\n:16383\r\n*3\r\n$-1\r\n:7001\r\n$2\r\nid\r\n*2\r\n$1\r\nb\r\n:7002\r\n",
            b"*1\r\n*3\r\n:16383\r\n:0\r\n*2\r\n$1\r\n?\r\n:0\r\n",
            b"*0\r\n",
            b"-ERR This instance has cluster support disabled\r\n",
        ];
        fuzz("slots", &replies, |input| {
            let Ok(value) = redis::parse_redis_value(input) else {
                return;
            };
            let Some(slots) = Slots::read(value, "asked") else {
                return;
            };
            assert!(slots.owners.len() <= 16384);
            for node in slots.owners.values() {
                assert!(slots.nodes.contains(node));
            }
        });
    }
}
