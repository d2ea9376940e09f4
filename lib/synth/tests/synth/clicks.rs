//! The click/query load.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroU32;

use proptest::prelude::*;
use rtf_synth::{CLICKS, Clicks, ClicksParams, Event, Expect, Share, Side, Tally};

use crate::{
    assert_in_order, assert_labels_are_true, assert_share, fingerprint, naive, parse, sorted,
};

fn clicks(count: u64) -> Clicks {
    Clicks::new(ClicksParams {
        count,
        ..ClicksParams::default()
    })
}

fn all(clicks: &Clicks) -> Vec<Event> {
    clicks.events().collect()
}

/// The fingerprint of a load of 5,000 pairs.
const FINGERPRINT: u64 = 18_330_251_623_599_040_005;

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let of = |seed| {
        let params = ClicksParams {
            seed,
            count: 5_000,
            ..ClicksParams::default()
        };
        fingerprint(Clicks::new(params).events())
    };
    assert_eq!(of(1), FINGERPRINT, "the load's bytes have changed");
    assert_ne!(of(2), FINGERPRINT);
}

#[test]
fn seed_and_start_change_every_id() {
    let ids = |seed, start_ms| -> HashSet<Vec<u8>> {
        let params = ClicksParams {
            seed,
            start_ms,
            count: 2_000,
            ..ClicksParams::default()
        };
        Clicks::new(params)
            .clicks()
            .filter_map(|event| event.key)
            .collect()
    };
    let base = ids(1, 1_000);
    assert!(base.is_disjoint(&ids(2, 1_000)));
    assert!(base.is_disjoint(&ids(1, 2_000)));
}

#[test]
fn a_longer_load_begins_with_the_shorter_one() {
    let short: Vec<Event> = clicks(1_000).queries_on_time().collect();
    let long: Vec<Event> = clicks(3_000).queries_on_time().take(short.len()).collect();
    assert_eq!(short, long);
}

#[test]
fn the_three_parts_make_the_whole() {
    let clicks = clicks(3_000);
    let mut parts: Vec<Event> = clicks.queries_on_time().collect();
    parts.extend(clicks.clicks());
    parts.extend(clicks.late_queries());
    parts.sort_by_key(|event| event.at_ms);
    assert_eq!(parts, all(&clicks));
}

#[test]
fn each_part_is_in_order() {
    let clicks = clicks(3_000);
    assert_in_order(&clicks.queries_on_time().collect::<Vec<_>>());
    assert_in_order(&clicks.clicks().collect::<Vec<_>>());
    assert_in_order(&clicks.late_queries().collect::<Vec<_>>());
    assert_in_order(&all(&clicks));
}

#[test]
fn the_oracle_agrees_with_a_naive_join() {
    let clicks = clicks(20_000);
    assert_eq!(sorted(clicks.expected()), naive(&all(&clicks), &CLICKS));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn the_oracle_agrees_with_a_naive_join_whatever_is_asked_for(
        seed: u64,
        start_ms: i64,
        count in 0_u64..400,
        shares in prop::array::uniform4(0_u16..=1000),
    ) {
        let [late, orphans, duplicates, malformed] = shares.map(Share::per_thousand);
        let params = ClicksParams {
            seed,
            start_ms,
            count,
            late,
            orphans,
            duplicates,
            malformed,
            ..ClicksParams::default()
        };
        let clicks = Clicks::new(params);
        let events = all(&clicks);
        prop_assert_eq!(sorted(clicks.expected()), naive(&events, &CLICKS));
        assert_labels_are_true(&events, &CLICKS);
        assert_in_order(&events);
    }
}

#[test]
fn labels_are_true() {
    assert_labels_are_true(&all(&clicks(20_000)), &CLICKS);
}

#[test]
fn shares_are_as_asked_for() {
    let clicks = clicks(50_000);
    let params = clicks.params();
    let mut tally = Tally::default();
    clicks.events().for_each(|event| tally.count(&event));
    let late = clicks.late_queries().count() as u64;

    assert_eq!(tally.joins + tally.orphans, params.count);
    assert_eq!(
        tally.primaries, tally.joins,
        "each joined click has its own query"
    );
    assert_eq!(tally.accepted(), clicks.expected().count() as u64);
    assert_share("late", late, params.count, params.late.value());
    assert_share(
        "orphans",
        tally.orphans,
        params.count,
        params.orphans.value(),
    );
    assert_share(
        "duplicates",
        tally.duplicates,
        params.count,
        params.duplicates.value(),
    );
    // Spread evenly, hence exact.
    assert_eq!(tally.malformed, 249);
    assert_eq!(tally.malformed_primaries, tally.malformed);
}

#[test]
fn shares_of_nothing_and_of_all() {
    let only = |late, orphans, duplicates, malformed| {
        let params = ClicksParams {
            count: 500,
            late,
            orphans,
            duplicates,
            malformed,
            ..ClicksParams::default()
        };
        let mut tally = Tally::default();
        Clicks::new(params)
            .events()
            .for_each(|event| tally.count(&event));
        tally
    };
    let (none, all) = (Share::NONE, Share::ALL);
    let plain = Tally {
        primaries: 500,
        joins: 500,
        ..Tally::default()
    };
    assert_eq!(only(none, none, none, none), plain);
    assert_eq!(only(all, none, none, none), plain);
    assert_eq!(
        only(none, none, all, none),
        Tally {
            duplicates: 500,
            ..plain
        }
    );
    assert_eq!(
        only(all, all, none, none),
        Tally {
            orphans: 500,
            ..Tally::default()
        }
    );
    assert_eq!(
        only(none, none, none, all),
        Tally {
            malformed: 500,
            malformed_primaries: 500,
            ..plain
        }
    );
}

#[test]
fn values_are_about_300_bytes_with_ids_of_20() {
    // The shortest time there is leaves the most to fill.
    let shortest = Clicks::new(ClicksParams {
        start_ms: 0,
        count: 5_000,
        ..ClicksParams::default()
    });
    for event in all(&clicks(5_000)).into_iter().chain(all(&shortest)) {
        if event.expect == Expect::Malformed {
            assert_eq!(event.key, None);
            continue;
        }
        assert!(
            (290..=300).contains(&event.value.len()),
            "{} bytes",
            event.value.len()
        );
        let value = parse(&event);
        let field = |name: &str| value[name].as_str().expect("a text").to_owned();
        assert_eq!(event.key, Some(field("query_id").into_bytes()));
        assert_eq!(field("query_id").len(), 20);
        assert!(value["time"].is_i64());
        match event.side {
            Side::Foreign => {
                assert_eq!(field("click_id").len(), 20);
                assert!(field("url").starts_with("https://"));
            }
            Side::Primary => assert!(!field("text").is_empty()),
        }
    }
}

#[test]
fn a_duplicate_is_the_same_bytes_again_and_later() {
    let mut seen = HashSet::new();
    let mut duplicates = 0;
    for event in clicks(10_000).clicks() {
        let repeated = !seen.insert(event.value.clone());
        assert_eq!(repeated, event.expect == Expect::Duplicate);
        duplicates += u32::from(repeated);
    }
    assert!(duplicates > 50);
}

#[test]
fn a_late_query_comes_after_its_click_but_was_made_before() {
    let params = ClicksParams {
        count: 2_000,
        per_second: NonZeroU32::new(100).expect("not zero"),
        click_after_ms: 70,
        late_by_ms: 900,
        ..ClicksParams::default()
    };
    let clicks = Clicks::new(params.clone());
    let clicked: HashMap<Option<Vec<u8>>, i64> = clicks
        .clicks()
        .filter(|event| matches!(event.expect, Expect::Joins | Expect::Orphan))
        .map(|event| (event.key, event.at_ms))
        .collect();
    for query in clicks.late_queries() {
        let made = parse(&query)["time"].as_i64().expect("a time") - params.start_ms;
        let click_ms = clicked[&query.key];
        assert_eq!((made, query.at_ms), (click_ms - 70, click_ms + 900));
    }
    for query in clicks
        .queries_on_time()
        .filter(|event| event.expect == Expect::None)
    {
        assert_eq!(query.at_ms, clicked[&query.key] - 70);
    }
}

#[test]
fn times_at_the_edge_of_64_bits_do_not_wrap() {
    let params = ClicksParams {
        start_ms: i64::MAX,
        count: 10,
        ..ClicksParams::default()
    };
    for event in Clicks::new(params).queries_on_time() {
        assert_eq!(parse(&event)["time"], i64::MAX);
    }
}

#[test]
fn every_sort_of_malformed_record_comes() {
    let params = ClicksParams {
        count: 300,
        malformed: Share::ALL,
        ..ClicksParams::default()
    };
    let malformed: Vec<Event> = Clicks::new(params)
        .clicks()
        .filter(|event| event.expect == Expect::Malformed)
        .collect();
    let some = |what: &str, test: &dyn Fn(&[u8]) -> bool| {
        let found = malformed.iter().filter(|event| test(&event.value)).count();
        assert!(found >= 20, "{what}: {found}");
    };
    let has = |value: &[u8], part: &str| String::from_utf8_lossy(value).contains(part);
    some("text", &|value| value.starts_with(b"GET "));
    some("cut short", &|value| {
        value.starts_with(b"{") && !value.ends_with(b"}")
    });
    some("text behind", &|value| value.ends_with(b", and so on"));
    some("a list", &|value| value.starts_with(b"["));
    some("null key", &|value| has(value, "\"query_id\":null"));
    some("empty key", &|value| has(value, "\"query_id\":\"\""));
    some("boolean key", &|value| has(value, "\"query_id\":true"));
    some("list key", &|value| has(value, "\"query_id\":["));
    some("object key", &|value| has(value, "\"query_id\":{"));
    some("half surrogate", &|value| has(value, "\\ud83d\""));
    some("no key", &|value| {
        value.starts_with(b"{") && !has(value, "query_id")
    });
    some("no id", &|value| {
        value.starts_with(b"{") && !has(value, "click_id")
    });
    some("null id", &|value| has(value, "\"click_id\":null"));
    some("not UTF-8", &|value| std::str::from_utf8(value).is_err());
    some("raw control character", &|value| {
        value.starts_with(b"{") && value.contains(&b'\n')
    });
}
