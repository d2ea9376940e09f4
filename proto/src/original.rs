//! A foreign record as it was read, kept with an outcome that is not a join.

use bytes::{Buf, BufMut, Bytes};

/// One record header; Kafka allows a null value.
pub type Header = (String, Option<Bytes>);

/// Key, value and headers of a foreign record, byte for byte.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Original {
    /// The record's key.
    pub key: Option<Bytes>,
    /// The record's value; `None` is Kafka's null, not an empty value.
    pub value: Option<Bytes>,
    /// Its headers in order.
    pub headers: Vec<Header>,
}

const NULL: u32 = u32::MAX;

impl Original {
    /// Appends: key, value, header count, headers; each with a length of 4 bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put(out, self.key.as_deref());
        put(out, self.value.as_deref());
        out.put_u32_le(self.headers.len() as u32);
        for (name, value) in &self.headers {
            put(out, Some(name.as_bytes()));
            put(out, value.as_deref());
        }
    }

    /// Reads what [`encode`](Self::encode) wrote; `None` when the bytes end early or are not it.
    pub fn decode(mut bytes: Bytes) -> Option<Self> {
        let key = take(&mut bytes)?;
        let value = take(&mut bytes)?;
        let count = bytes.try_get_u32_le().ok()?;
        let mut headers = Vec::new();
        for _ in 0..count {
            let name = String::from_utf8(take(&mut bytes)??.to_vec()).ok()?;
            headers.push((name, take(&mut bytes)?));
        }
        bytes.is_empty().then_some(Self {
            key,
            value,
            headers,
        })
    }
}

/// Appends bytes with their length, or the mark of null.
pub(crate) fn put(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => out.put_u32_le(NULL),
        Some(bytes) => {
            out.put_u32_le(u32::try_from(bytes.len()).expect("a record is below 4 GiB"));
            out.put_slice(bytes);
        }
    }
}

/// Reads what [`put`] wrote.
pub(crate) fn take(bytes: &mut Bytes) -> Option<Option<Bytes>> {
    let length = bytes.try_get_u32_le().ok()?;
    if length == NULL {
        return Some(None);
    }
    let length = usize::try_from(length).ok()?;
    (bytes.len() >= length).then(|| Some(bytes.split_to(length)))
}
