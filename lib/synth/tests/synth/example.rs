//! The examples' small workloads.

use std::collections::HashSet;
use std::num::NonZeroU32;

use proptest::prelude::*;
use rtf_synth::{Example, ExampleParams, Expect, Share, Side, Tally};

use crate::{
    assert_in_order, assert_labels_are_true, assert_share, fingerprint, naive, parse, sorted,
};

const PAYMENTS: u64 = 3_956_199_797_180_301_385;
const SENSORS: u64 = 17_699_097_676_207_230_823;

fn both() -> [Example; 2] {
    [
        Example::payments(ExampleParams::payments()),
        Example::sensors(ExampleParams::sensors()),
    ]
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let [payments, sensors] = both();
    let found = [payments.events(), sensors.events()].map(fingerprint);
    assert_eq!(found, [PAYMENTS, SENSORS], "the bytes have changed");
    let other = ExampleParams {
        seed: 2,
        ..ExampleParams::payments()
    };
    assert_ne!(fingerprint(Example::payments(other).events()), PAYMENTS);
}

fn tally(example: &Example) -> Tally {
    let mut tally = Tally::default();
    example.events().for_each(|event| tally.count(&event));
    tally
}

#[test]
fn shares_are_as_asked_for() {
    for example in both() {
        let (params, tally) = (example.params(), tally(&example));
        let count = u64::from(params.count);
        assert_eq!(tally.joins + tally.orphans, count);
        assert_eq!(tally.accepted(), example.expected().count() as u64);
        let twice = params.duplicates.value();
        assert_share("duplicates", tally.duplicates, count, twice);
        assert_eq!((tally.malformed, tally.malformed_primaries), (20, 20));
        assert!(tally.orphans > 0);
        let late = example.events().filter(|event| {
            let made = || parse(event)["time"].as_i64().expect("a time") - params.start_ms;
            event.expect == Expect::None && made() < event.at_ms
        });
        assert!(late.count() > 0, "nobody is late");
    }
}

#[test]
fn sensors_are_calibrated_again() {
    let [payments, sensors] = both();
    let tally = tally(&sensors);
    let primaries = sensors.events().filter(|e| e.expect == Expect::None);
    let keys: HashSet<_> = primaries.map(|event| event.key).collect();
    assert_eq!(tally.primaries, 5 * keys.len() as u64, "every 5 s for 20 s");
    assert!(keys.len() > 30);
    let partner = |e| {
        matches!(
            e,
            rtf_synth::Expected::Joined {
                primary: Some(_),
                ..
            }
        )
    };
    assert!(!sensors.expected().any(partner));
    assert!(payments.expected().any(partner));
}

#[test]
fn a_payment_is_what_its_order_costs() {
    let [payments, _] = both();
    let mut orders = std::collections::HashMap::new();
    let mut paid = 0;
    let mut events: Vec<_> = payments.events().collect();
    events.sort_by_key(|event| event.side == Side::Foreign);
    for event in events.iter().filter(|e| e.expect != Expect::Malformed) {
        let value = parse(event);
        match event.side {
            Side::Primary => {
                orders.insert(
                    value["order_id"].clone().to_string(),
                    value["total"].clone(),
                );
            }
            Side::Foreign => {
                if let Some(total) = orders.get(&value["order_id"].to_string()) {
                    assert_eq!(*total, value["amount"]);
                    paid += 1;
                }
            }
        }
    }
    assert!(paid > 1_000);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn the_oracle_agrees_with_a_naive_join_whatever_is_asked_for(
        seed: u64,
        count in 0_u32..200,
        keys in 0_u32..30,
        again in 0_u32..3_000,
        shares in prop::array::uniform4(0_u16..=1000),
    ) {
        let [late, orphans, duplicates, malformed] = shares.map(Share::per_thousand);
        let params = ExampleParams {
            seed,
            count,
            keys: NonZeroU32::new(keys),
            again_after_ms: NonZeroU32::new(again),
            late,
            orphans,
            duplicates,
            malformed,
            ..ExampleParams::sensors()
        };
        for example in [Example::payments(params.clone()), Example::sensors(params)] {
            let events: Vec<_> = example.events().collect();
            let join = example.join();
            if join.primary.id != join.primary.key || again == 0 {
                prop_assert_eq!(sorted(example.expected()), naive(&events, &join));
            }
            assert_labels_are_true(&events, &join);
            assert_in_order(&events);
        }
    }
}
