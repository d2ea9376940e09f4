//! Fuzzed: all of this crate. Documents against `serde_json`'s own tree, pointers, times, whole events.

use crate::{Extractor, Fields, Finder, Folding, Parts, share, time};
use bytes::Bytes;
use rtf_fuzz::fuzz;
use serde_json::Value;

const DOCUMENTS: [&[u8]; 6] = [
    br#"{"user":{"location":"Austin, TX"},"id_str":"7","created_at":"Wed Oct 10 20:19:24 +0000 2018"}"#,
    br#"{"a":[{"b":1},{"b":2.50}],"a~/b":"\ud83d\ude00 \u0000","":null}"#,
    br#"{"a":1,"a":{"b":true},"a":[0,[1,[2]]]}"#,
    b" [1e999, -0, 18446744073709551616] ",
    b"\"\\ud800\"",
    b"{\"a\":{\"b\":[[[[[[[[[[]]]]]]]]]]}}",
];

/// What the finder takes for JSON is JSON, and it finds what stands in the tree.
#[test]
fn fuzz_documents() {
    let pointers = [
        "",
        "/a",
        "/a/b",
        "/a/0/b",
        "/a/1",
        "/a~0~1b",
        "/",
        "/user/location",
    ];
    let finder = Finder::new(&pointers).expect("these are pointers");
    fuzz("document", &DOCUMENTS, |input| {
        let found = finder.find(input);
        // The tree knows a depth and a largest number, the finder does not.
        let Ok(tree) = serde_json::from_slice::<Value>(input) else {
            return;
        };
        let found = found.expect("what the tree takes is JSON");
        for (number, pointer) in pointers.iter().enumerate() {
            let raw = found.get(number);
            let value = raw.map(|raw| serde_json::from_str::<Value>(raw).expect("a part of JSON"));
            assert_eq!(value.as_ref(), tree.pointer(pointer), "{pointer}");
        }
    });
}

#[test]
fn fuzz_pointers() {
    fuzz(
        "pointer",
        &[b"/a/b~1c/0", b"", b"/~0", b"@header.x", b"/a//"],
        |input| {
            let text = String::from_utf8_lossy(input);
            let Ok(finder) = Finder::new(&[text.as_ref(), ""]) else {
                return;
            };
            let document = br#"{"a":{"b/c":["x"]},"~":1,"":{"":2}}"#;
            let tree: Value = serde_json::from_slice(document).expect("it is JSON");
            let found = finder.find(document).expect("it is JSON");
            let value = found
                .get(0)
                .map(|raw| serde_json::from_str::<Value>(raw).expect("JSON"));
            assert_eq!(value.as_ref(), tree.pointer(&text), "{text}");
        },
    );
}

/// Any text: a time that is read can be said in milliseconds, and read again.
#[test]
fn fuzz_times() {
    let seeds: [&[u8]; 4] = [
        b"2018-10-10T22:19:24.000+02:00",
        b"Wed Oct 10 20:19:24 +0000 2018",
        b"1539202764000",
        b"-262143-01-01T00:00:00Z",
    ];
    fuzz("time", &seeds, |input| {
        let text = String::from_utf8_lossy(input);
        if let Some(ms) = time::parse(&text) {
            assert_eq!(time::parse(&ms.to_string()), Some(ms), "{text}");
        }
    });
}

/// Any record: ids and keys are never empty, ids never too long, and what is shared is what was found.
#[test]
fn fuzz_events() {
    let fields = Fields {
        id: vec!["/id_str".into(), "@key".into()],
        key: vec!["/user/location".into()],
        time: Some("/created_at".into()),
        extra: vec!["/user".into()],
        folding: Folding {
            trim: true,
            fold_case: true,
        },
        max_id_bytes: 40,
    };
    let extractor = Extractor::new(fields).expect("these are fields");
    fuzz("event", &DOCUMENTS, |input| {
        let value = Bytes::copy_from_slice(input);
        let parts = Parts {
            value: &value,
            key: Some(b"a key"),
            headers: &[],
        };
        let Ok(event) = extractor.extract(&parts) else {
            return;
        };
        let id = event.id.clone().expect("it was asked for");
        assert!((1..=40).contains(&id.len()) && !event.key.trim().is_empty());
        let key = event.key.clone();
        assert_eq!(share(&value, event.key), key.as_bytes());
    });
}
