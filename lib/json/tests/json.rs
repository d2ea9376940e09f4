//! The finder against `serde_json`'s own tree, and the extractor's words.

use bytes::Bytes;
use proptest::prelude::*;
use rtf_json::{Extractor, Fields, Finder, Folding, Parts, share};
use serde_json::Value;

/// A document as text, so that names can stand in it twice.
fn document() -> impl Strategy<Value = String> {
    let scalar = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|b| b.to_string()),
        any::<i32>().prop_map(|n| n.to_string()),
        any::<f32>()
            .prop_filter("JSON has no NaN", |n| n.is_finite())
            .prop_map(|n| format!("{n:e}")),
        any::<String>().prop_map(|s| serde_json::to_string(&s).unwrap()),
        Just(r#""\u00e9\n\ud83d\ude00""#.to_owned()),
    ];
    scalar.prop_recursive(5, 60, 5, |inner| {
        let name = prop_oneof![
            Just("a"),
            Just("b"),
            Just(r"\u0061"),
            Just("0"),
            Just("1"),
            Just("~"),
            Just("/"),
            Just(""),
        ];
        let space = prop_oneof![Just(""), Just(" "), Just("\n\t")];
        let member = (name, inner.clone(), space.clone())
            .prop_map(|(name, value, space)| format!("{space}\"{name}\"{space}:{space}{value}"));
        prop_oneof![
            prop::collection::vec(inner, 0..5).prop_map(|v| format!("[{}]", v.join(", "))),
            (prop::collection::vec(member, 0..5), space)
                .prop_map(|(v, space)| format!("{{{}{space}}}", v.join(","))),
        ]
    })
}

fn pointer() -> impl Strategy<Value = String> {
    let step = prop_oneof!["a", "b", "0", "1", "00", "~0", "~1", ""];
    prop::collection::vec(step, 0..4)
        .prop_map(|steps| steps.iter().map(|step| format!("/{step}")).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn finds_what_the_tree_has(json in document(), pointers in prop::collection::vec(pointer(), 0..6)) {
        let tree: Value = serde_json::from_str(&json).unwrap();
        let finder = Finder::new(&pointers).unwrap();
        let found = finder.find(json.as_bytes()).unwrap();
        for (i, pointer) in pointers.iter().enumerate() {
            let value = found.get(i).map(|raw| serde_json::from_str::<Value>(raw).unwrap());
            prop_assert_eq!(value.as_ref(), tree.pointer(pointer), "{} in {}", pointer, json);
        }
    }

    #[test]
    fn accepts_what_the_tree_accepts(json in document(), at in any::<prop::sample::Index>(), byte: u8) {
        let mut bytes = json.into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let tree = serde_json::from_slice::<Value>(&bytes).is_ok();
        let finder = Finder::new(&["/a/b", "/0", "/b"]).unwrap();
        let found = finder.find(&bytes).is_ok();
        // What is only passed over may hold numbers and escapes that stand for nothing; the grammar is kept.
        let grammar = std::str::from_utf8(&bytes)
            .is_ok_and(|text| serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok());
        prop_assert!(found || !tree, "refused {}", String::from_utf8_lossy(&bytes));
        prop_assert!(grammar || !found, "accepted {}", String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn garbage_never_panics(bytes: Vec<u8>) {
        let _ = Finder::new(&["/a"]).unwrap().find(&bytes);
    }
}

#[test]
fn deep_documents_are_walked_without_recursion() {
    let depth = 1_000_000;
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let deep = format!("{}1{}", open.repeat(depth), close.repeat(depth));
        let json = format!("{{\"deep\":{deep},\"id\":7}}");
        let finder = Finder::new(&["/id", "/deep", "/deep/a/a", "/deep/0"]).unwrap();
        let found = finder.find(json.as_bytes()).unwrap();
        assert_eq!(found.get(0), Some("7"));
        assert_eq!(found.get(1), Some(deep.as_str()));
    }
}

#[test]
fn what_is_not_json_is_said_with_its_place() {
    let finder = Finder::new(&["/a"]).unwrap();
    let words = |json: &[u8]| finder.find(json).unwrap_err().to_string();
    assert_eq!(
        words(b"oops"),
        "not JSON: expected value at line 1 column 1"
    );
    assert_eq!(
        words(b""),
        "not JSON: EOF while parsing a value at line 1 column 0"
    );
    assert_eq!(
        words(b"{} x"),
        "not JSON: trailing characters at line 1 column 4"
    );
    assert_eq!(
        words(b"{\"a\":\"\xff\"}"),
        "not JSON: invalid UTF-8 at byte 6"
    );
}

fn fields(id: &[&str], key: &[&str]) -> Fields {
    let owned = |list: &[&str]| list.iter().map(|&p| p.to_owned()).collect();
    Fields {
        id: owned(id),
        key: owned(key),
        time: Some("/at".into()),
        extra: vec!["/x".into(), "/y".into()],
        folding: Folding {
            trim: true,
            fold_case: true,
        },
        max_id_bytes: 16,
    }
}

#[test]
fn events_are_read_without_copying() {
    let extractor = Extractor::new(fields(&["/id"], &["/user/location"])).unwrap();
    let record = Bytes::from_static(
        br#"{"id":" A ","user":{"location":" austin "},"at":5,"x":[1, 2],"id":" B "}"#,
    );
    let event = extractor.extract(&Parts::of(&record)).unwrap();
    assert_eq!(event.time_ms, Some(5));
    assert_eq!(event.extra(0), Some("[1, 2]"));
    assert_eq!(event.extra(1), None);
    let id = share(&record, event.id.unwrap());
    assert_eq!(id, " B ", "ids are not folded");
    let key = share(&record, event.key);
    assert_eq!(key, "austin");
    let range = record.as_ptr_range();
    assert!(range.contains(&key.as_ptr()) && range.contains(&id.as_ptr()));
}

#[test]
fn several_pointers_make_one_text() {
    let extractor = Extractor::new(fields(&["/a", "/b"], &["/b", "/c"])).unwrap();
    let event = extractor
        .extract(&Parts::of(br#"{"a":1,"b":"B","c":"C","at":"1"}"#))
        .unwrap();
    assert_eq!(event.id.as_deref(), Some(r#"["1","B"]"#));
    assert_eq!(event.key, r#"["b","c"]"#);
}

#[test]
fn an_event_may_be_without_an_id() {
    let extractor = Extractor::new(fields(&[], &["/k"])).unwrap();
    let event = extractor
        .extract(&Parts::of(br#"{"k":1,"at":2,"x":3}"#))
        .unwrap();
    assert_eq!(event.id, None);
    assert_eq!(event.extra(0), Some("3"));
}

#[test]
fn wrong_fields_are_named() {
    let extractor = Extractor::new(fields(&["/id"], &["/user/location"])).unwrap();
    let words = |json: &str| {
        let error = extractor.extract(&Parts::of(json.as_bytes())).unwrap_err();
        error.to_string()
    };
    assert_eq!(words("{}"), "`/id` is missing");
    assert_eq!(words(r#"{"id":""}"#), "`/id` is empty");
    assert_eq!(
        words(r#"{"id":"12345678901234567"}"#),
        "`/id` is 17 bytes, at most 16 are accepted"
    );
    assert_eq!(words(r#"{"id":1}"#), "`/user/location` is missing");
    assert_eq!(words(r#"{"id":1,"user":7}"#), "`/user/location` is missing");
    assert_eq!(
        words(r#"{"id":1,"user":{"location":false}}"#),
        "`/user/location` is a boolean, not a string or number"
    );
    assert_eq!(
        words(r#"{"id":1,"user":{"location":"x"},"at":"soon"}"#),
        "`/at` is not a time: \"soon\" is neither RFC 3339, nor Twitter's format, nor milliseconds since 1970"
    );
    let extractor = Extractor::new(fields(&["/a", "/b"], &["/a"])).unwrap();
    let long = extractor
        .extract(&Parts::of(br#"{"a":"1234567","b":"1234567"}"#))
        .unwrap_err();
    assert_eq!(long.to_string(), "id is 21 bytes, at most 16 are accepted");
    assert_eq!(
        Extractor::new(fields(&["/a"], &[]))
            .unwrap_err()
            .to_string(),
        "a key needs at least one field"
    );
}

fn header(name: &str, value: Option<&str>) -> (String, Option<Bytes>) {
    let value = value.map(|value| Bytes::copy_from_slice(value.as_bytes()));
    (name.into(), value)
}

#[test]
fn key_and_headers_of_the_record_are_fields_too() {
    let with_time = |time: &str| Fields {
        time: Some(time.into()),
        ..fields(&["@key"], &["@header.trace-id", "/b", "@key"])
    };
    let extractor = Extractor::new(with_time("@header.at")).unwrap();
    assert!(extractor.reads_headers());
    // Of two headers with one name the last one counts.
    let headers = [
        header("trace-id", Some("old")),
        header("at", Some("2018-10-10T20:19:24Z")),
        header("trace-id", Some(" T1 ")),
        header("Trace-Id", Some("another name")),
    ];
    let parts = Parts {
        value: br#"{"b":7,"x":[1]}"#,
        key: Some(b"Key 1"),
        headers: &headers,
    };
    let event = extractor.extract(&parts).unwrap();
    assert_eq!(event.id.as_deref(), Some("Key 1"), "ids are not folded");
    assert_eq!(event.key, r#"["t1","7","key 1"]"#);
    assert_eq!(event.time_ms, Some(1_539_202_764_000));
    assert_eq!(event.extra(0), Some("[1]"));

    let extractor = Extractor::new(with_time("@timestamp")).unwrap();
    assert_eq!(extractor.extract(&parts).unwrap().time_ms, None);
}

#[test]
fn a_number_in_the_message_key_meets_the_one_in_json() {
    let fields = |key: &str| Fields {
        time: None,
        ..fields(&[], &[key])
    };
    let parts = Parts {
        value: br#"{"n":17,"s":"17"}"#,
        key: Some(b"17"),
        headers: &[],
    };
    for key in ["@key", "/n", "/s"] {
        let extractor = Extractor::new(fields(key)).unwrap();
        assert!(!extractor.reads_headers());
        assert_eq!(extractor.extract(&parts).unwrap().key, "17", "{key}");
    }
}

#[test]
fn what_is_no_text_beside_the_value_is_named() {
    let headers = [
        header("null", None),
        header("empty", Some("")),
        header("blank", Some(" ")),
        ("bytes".to_owned(), Some(Bytes::from_static(b"ab\xff"))),
    ];
    let words = |field: &str, key: Option<&[u8]>| {
        let fields = Fields {
            time: None,
            ..fields(&[], &[field])
        };
        let parts = Parts {
            value: b"{}",
            key,
            headers: &headers,
        };
        let extractor = Extractor::new(fields).unwrap();
        extractor.extract(&parts).unwrap_err().to_string()
    };
    assert_eq!(words("@key", None), "`@key` is null");
    assert_eq!(words("@key", Some(b"")), "`@key` is empty");
    assert_eq!(
        words("@key", Some(b"\xc3(")),
        "`@key` is not text: invalid UTF-8 at byte 0"
    );
    assert_eq!(words("@header.none", None), "`@header.none` is missing");
    assert_eq!(words("@header.null", None), "`@header.null` is null");
    assert_eq!(words("@header.empty", None), "`@header.empty` is empty");
    assert_eq!(words("@header.blank", None), "`@header.blank` is empty");
    assert_eq!(
        words("@header.bytes", None),
        "`@header.bytes` is not text: invalid UTF-8 at byte 2"
    );
    for wrong in ["@", "@keys", "@header.", "@header", "@timestamp", "@value"] {
        let refused = Extractor::new(fields(&[], &[wrong])).unwrap_err();
        assert!(refused.to_string().contains(wrong), "{refused}");
    }
}

#[test]
fn an_id_beside_the_value_is_known_without_one() {
    let headers = [header("h", Some("H"))];
    let parts = Parts {
        value: b"",
        key: Some(b"K"),
        headers: &headers,
    };
    let id = |fields: Fields| {
        let extractor = Extractor::new(fields).unwrap();
        let id = extractor.id_without_value(&parts)?;
        Some(id.map(|id| id.into_owned()).map_err(|e| e.to_string()))
    };
    assert_eq!(id(fields(&["@key"], &["/k"])), Some(Ok("K".into())));
    assert_eq!(
        id(fields(&["@key", "@header.h"], &["/k"])),
        Some(Ok(r#"["K","H"]"#.into()))
    );
    assert_eq!(
        id(fields(&["@header.i"], &["/k"])),
        Some(Err("`@header.i` is missing".into()))
    );
    assert_eq!(id(fields(&["@key", "/i"], &["/k"])), None);
    assert_eq!(id(fields(&[], &["/k"])), None);
}

#[test]
fn pointers_lead_into_arrays() {
    let fields = Fields {
        time: Some("/legs/1/at".into()),
        ..fields(&["/ids/0"], &["/legs/0/from", "/legs/1/from"])
    };
    let extractor = Extractor::new(fields).unwrap();
    let read = |json: &str| {
        let event = extractor.extract(&Parts::of(json.as_bytes()));
        event.map(|e| (e.id.map(|id| id.into_owned()), e.key.into_owned()))
    };
    let (id, key) =
        read(r#"{"legs":[{"from":"AUS"},{"from":"LAX","at":5},{"from":"SFO"}],"ids":[7]}"#)
            .unwrap();
    assert_eq!(id.as_deref(), Some("7"));
    assert_eq!(key, r#"["aus","lax"]"#);
    let words = read(r#"{"legs":[{"from":"AUS"}],"ids":[7]}"#).unwrap_err();
    assert_eq!(words.to_string(), "`/legs/1/from` is missing");
    let words = read(r#"{"legs":{"0":{"from":"AUS"},"1":{"from":"LAX"}},"ids":[]}"#).unwrap_err();
    assert_eq!(words.to_string(), "`/ids/0` is missing");
}

/// A megabyte of whatever shape costs milliseconds, not seconds: what is slow here is slow in more than its size.
#[test]
fn a_megabyte_is_read_in_time_whatever_its_shape() {
    const BYTES: usize = 1 << 20;
    const DEEP: usize = 10_000;
    const WITHIN: std::time::Duration = std::time::Duration::from_millis(500);
    let fields = Fields {
        time: None,
        ..fields(&["/id"], &["/a/a/a", "/a/0/0", "/a/1", "/a"])
    };
    let extractor = Extractor::new(fields).unwrap();
    let escapes = "\\u0041".repeat(BYTES / 6);
    let shapes = [
        ("a text", format!("\"{}\"", "x".repeat(BYTES))),
        ("escapes", format!("\"{escapes}\"")),
        ("numbers", format!("[{}1]", "1,".repeat(BYTES / 2))),
        ("one number", "1".repeat(BYTES)),
        (
            "empty objects",
            format!("[{}{{}}]", "{},".repeat(BYTES / 3)),
        ),
        (
            "one name",
            format!("{{{}\"a\":1}}", "\"a\":1,".repeat(BYTES / 6)),
        ),
        ("white space", format!("{}1", " ".repeat(BYTES))),
        ("depth", "[".repeat(DEEP) + &"]".repeat(DEEP)),
        (
            "deep names",
            "{\"a\":".repeat(DEEP) + "1" + &"}".repeat(DEEP),
        ),
        (
            "depth of a megabyte",
            "[".repeat(BYTES / 2) + &"]".repeat(BYTES / 2),
        ),
        ("no end", "[".repeat(BYTES)),
    ];
    for (what, shape) in shapes {
        let json = format!("{{\"id\":1,\"a\":{shape}}}");
        let begun = std::time::Instant::now();
        // Most have no such key; what matters is when that is known.
        let _ = extractor.extract(&Parts::of(json.as_bytes()));
        assert!(begun.elapsed() < WITHIN, "{what}: {:?}", begun.elapsed());
    }
}
