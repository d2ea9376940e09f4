//! The demonstration's tweets and deals.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::num::NonZeroU32;

use chrono::DateTime;
use proptest::prelude::*;
use rtf_synth::{
    AIRPORTS, ELSEWHERE, Event, Expect, Expected, Share, Tally, VACATION, Vacation, VacationError,
    VacationParams,
};

use crate::{
    assert_in_order, assert_labels_are_true, assert_share, fingerprint, naive, parse, sorted,
};

const MONTH_MS: i64 = 30 * 24 * 3_600_000;

fn params(tweets: u64) -> VacationParams {
    VacationParams {
        tweets: Some(tweets),
        ..VacationParams::default()
    }
}

fn vacation(tweets: u64) -> Vacation {
    Vacation::new(params(tweets)).expect("good parameters")
}

fn all(vacation: &Vacation) -> Vec<Event> {
    vacation.events().collect()
}

/// The fingerprint of the demonstration's first 2,000 tweets and all deals.
const FINGERPRINT: u64 = 10_376_909_278_968_396_434;

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let of = |seed| {
        let params = VacationParams {
            seed,
            ..params(2_000)
        };
        fingerprint(Vacation::new(params).expect("good parameters").events())
    };
    assert_eq!(of(1), FINGERPRINT, "the demonstration's bytes have changed");
    assert_ne!(of(2), FINGERPRINT);
}

#[test]
fn the_endless_stream_begins_with_the_limited_one() {
    let limited: Vec<_> = vacation(500).tweet_facts().collect();
    let endless = Vacation::new(VacationParams::default()).expect("good");
    assert_eq!(limited, endless.tweet_facts().take(500).collect::<Vec<_>>());
    assert!(endless.tweets().nth(3_000).is_some());
}

#[test]
fn the_next_run_has_the_same_deals_and_other_tweets() {
    let later = VacationParams {
        start_ms: params(200).start_ms + 86_400_000,
        ..params(200)
    };
    let (first, second) = (vacation(200), Vacation::new(later).expect("good"));
    let deals = |run: &Vacation| run.deal_facts().map(|deal| deal.id).collect::<Vec<_>>();
    assert_eq!(deals(&first), deals(&second));
    let tweets = |run: &Vacation| {
        run.tweet_facts()
            .map(|tweet| tweet.id)
            .collect::<HashSet<_>>()
    };
    assert!(tweets(&first).is_disjoint(&tweets(&second)));
}

#[test]
fn the_oracle_agrees_with_a_naive_join() {
    let vacation = vacation(5_000);
    assert_eq!(
        sorted(vacation.expected()),
        naive(&all(&vacation), &VACATION)
    );
}

#[test]
fn labels_are_true_and_everything_is_in_order() {
    let vacation = vacation(5_000);
    assert_labels_are_true(&all(&vacation), &VACATION);
    assert_in_order(&vacation.deals().collect::<Vec<_>>());
    assert_in_order(&vacation.tweets().collect::<Vec<_>>());
    assert_in_order(&all(&vacation));
}

#[test]
fn shares_are_as_asked_for() {
    let vacation = vacation(20_000);
    let params = vacation.params();
    let mut tally = Tally::default();
    vacation.events().for_each(|event| tally.count(&event));
    assert_eq!(tally.primaries, u64::from(params.deals));
    assert_eq!(tally.joins + tally.orphans, 20_000);
    assert_share("elsewhere", tally.orphans, 20_000, params.elsewhere.value());
    assert_share(
        "duplicates",
        tally.duplicates,
        20_000,
        params.duplicates.value(),
    );
    // Spread evenly, hence exact.
    assert_eq!((tally.malformed, tally.malformed_primaries), (200, 60));
    assert_eq!(tally.accepted(), vacation.expected().count() as u64);

    let late = vacation
        .deal_facts()
        .filter(|deal| deal.delay_ms > 0)
        .count() as u64;
    assert_share("late", late, u64::from(params.deals), params.late.value());
}

#[test]
fn deals_have_their_fields_and_depart_within_a_month() {
    let vacation = vacation(0);
    let start_ms = vacation.params().start_ms;
    let mut ids = HashSet::new();
    let mut per_city = BTreeMap::<String, u32>::new();
    let mut airlines = BTreeSet::new();
    for event in vacation
        .deals()
        .filter(|event| event.expect == Expect::None)
    {
        let deal = parse(&event);
        let field = |name: &str| {
            deal[name]
                .as_str()
                .unwrap_or_else(|| panic!("{name}: {deal}"))
        };
        let time = |name: &str| {
            DateTime::parse_from_rfc3339(field(name))
                .expect("RFC 3339")
                .timestamp_millis()
        };
        assert_eq!(event.key.as_deref(), Some(field("id").as_bytes()));
        assert!(ids.insert(field("id").to_owned()));
        for end in ["departure", "arrival"] {
            let airport = AIRPORTS
                .iter()
                .find(|airport| airport.code == field(&format!("{end}AirportCode")))
                .expect("a known airport");
            assert_eq!(field(&format!("{end}AirportName")), airport.name);
            assert_eq!(field(&format!("{end}AirportLocation")), airport.city);
            assert_eq!(deal[&format!("{end}AirportLat")], airport.latitude);
            assert_eq!(deal[&format!("{end}AirportLon")], airport.longitude);
        }
        assert_ne!(field("departureAirportCode"), field("arrivalAirportCode"));
        assert!((start_ms..=start_ms + MONTH_MS).contains(&time("departureTime")));
        let hours = (time("arrivalTime") - time("departureTime")) as f64 / 3_600_000.0;
        assert!((0.5..6.5).contains(&hours), "{hours} h: {deal}");
        let fare = deal["totalFare"].as_f64().expect("a number");
        assert!((29.0..800.0).contains(&fare), "{fare}");
        let text = String::from_utf8(event.value.clone()).expect("UTF-8");
        let (_, behind_fare) = text.split_once("\"totalFare\":").expect("a fare");
        let cents = behind_fare.split_once('.').expect("cents").1;
        assert_eq!(cents.find(','), Some(2), "not two decimals: {behind_fare}");
        assert_eq!(field("currency"), "USD");
        assert!(field("flightNumber").len() >= 5);
        airlines.insert(field("airline").to_owned());
        *per_city
            .entry(field("departureAirportLocation").to_owned())
            .or_default() += 1;
    }
    assert_eq!((ids.len(), airlines.len(), per_city.len()), (6_000, 7, 17));
    assert!(per_city.values().all(|&deals| (352..=353).contains(&deals)));
}

#[test]
fn late_deals_come_minutes_late_and_all_others_at_once() {
    let mut late = 0;
    for event in vacation(0).deals() {
        if event.at_ms > 0 {
            assert!((60_000..=300_000).contains(&event.at_ms));
            late += 1;
        }
    }
    assert!(late > 200);
}

#[test]
fn tweets_have_the_shape_of_twitters() {
    let vacation = vacation(5_000);
    let start_ms = vacation.params().start_ms;
    let mut ids = HashSet::new();
    let mut texts = HashSet::new();
    let mut places = BTreeSet::new();
    let good = |event: &Event| matches!(event.expect, Expect::Joins | Expect::Orphan);
    for event in vacation.tweets().filter(good) {
        assert!(event.value.is_ascii());
        assert!(
            (600..=1_100).contains(&event.value.len()),
            "{} bytes",
            event.value.len()
        );
        let tweet = parse(&event);
        let id = tweet["id"].as_u64().expect("a number");
        assert_eq!(tweet["id_str"], id.to_string());
        assert!(ids.insert(id));
        let created = tweet["created_at"].as_str().expect("a time");
        let created = DateTime::parse_from_str(created, "%a %b %d %H:%M:%S %z %Y").expect(created);
        assert_eq!(created.timestamp(), (start_ms + event.at_ms) / 1000);
        assert!(!tweet["user"]["name"].as_str().expect("a name").is_empty());
        assert_eq!(
            tweet["user"]["id"].to_string(),
            tweet["user"]["id_str"].as_str().expect("id")
        );
        assert!(tweet["user"]["followers_count"].is_u64());
        let text: Vec<char> = tweet["text"].as_str().expect("a text").chars().collect();
        assert!(text.len() <= 280);
        for tag in tweet["entities"]["hashtags"].as_array().expect("a list") {
            let index = |n: usize| tag["indices"][n].as_u64().expect("a number") as usize;
            let marked: String = text[index(0)..index(1)].iter().collect();
            assert_eq!(marked, format!("#{}", tag["text"].as_str().expect("a tag")));
        }
        texts.insert(text);
        places.insert(
            tweet["user"]["location"]
                .as_str()
                .expect("a place")
                .to_owned(),
        );
    }
    assert!(texts.len() > 4_000, "only {} texts", texts.len());
    assert_eq!(places.len(), AIRPORTS.len() + ELSEWHERE.len());
    let nuisance = |part: &str| {
        texts
            .iter()
            .any(|text| String::from_iter(text).contains(part))
    };
    assert!(
        ["<script>", "&", "\"", "\\", "🌴", "é", "👩‍💻"]
            .iter()
            .all(|part| nuisance(part))
    );
}

#[test]
fn a_tweet_sent_twice_is_the_same_bytes_later() {
    let mut seen = HashSet::new();
    for event in vacation(5_000).tweets() {
        let repeated = !seen.insert(event.value.clone());
        assert_eq!(repeated, event.expect == Expect::Duplicate);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn the_oracle_agrees_with_a_naive_join_whatever_is_asked_for(
        seed: u64,
        deals in 0_u32..60,
        tweets in 0_u64..400,
        shares in prop::array::uniform4(0_u16..=1000),
    ) {
        let [elsewhere, late, duplicates, malformed] = shares.map(Share::per_thousand);
        let params =
            VacationParams { seed, deals, elsewhere, late, duplicates, malformed, ..params(tweets) };
        let vacation = Vacation::new(params).expect("good parameters");
        let events = all(&vacation);
        let naive: Vec<_> = naive(&events, &VACATION).into_iter().map(only_key).collect();
        prop_assert_eq!(sorted(vacation.expected()), naive);
        assert_labels_are_true(&events, &VACATION);
        assert_in_order(&events);
    }
}

/// The oracle leaves the partner to the match policy even where there is one deal only.
fn only_key(expected: Expected) -> Expected {
    match expected {
        Expected::Joined { id, key, .. } => Expected::Joined {
            id,
            key,
            primary: None,
        },
        other => other,
    }
}

#[test]
fn after_the_last_departure_nothing_joins() {
    let one_each = VacationParams {
        per_second: NonZeroU32::MIN,
        deals: 17,
        tweets: Some(300_000), // three and a half days
        malformed: Share::NONE,
        ..params(0)
    };
    let vacation = Vacation::new(one_each).expect("good parameters");
    let departs: BTreeMap<&str, i64> = vacation
        .deal_facts()
        .map(|deal| (deal.from.city, deal.departs_ms))
        .collect();
    let mut missed = 0;
    for (tweet, expected) in vacation.tweet_facts().zip(vacation.expected()) {
        let departs_ms = departs.get(tweet.location).copied();
        let joins = departs_ms.is_some_and(|departs_ms| tweet.created_ms < departs_ms);
        assert_eq!(
            joins,
            matches!(expected, Expected::Joined { .. }),
            "{tweet:?}"
        );
        missed += u32::from(departs_ms.is_some() && !joins);
    }
    assert!(missed > 0, "no flight has departed");
}

#[test]
fn refuses_parameters_out_of_bounds() {
    let with = |change: &dyn Fn(&mut VacationParams)| {
        let mut params = params(1);
        change(&mut params);
        Vacation::new(params).map(|_| ())
    };
    assert_eq!(
        with(&|params| params.start_ms = 0),
        Err(VacationError::StartOutOfRange { start_ms: 0 })
    );
    assert_eq!(
        with(&|params| params.start_ms = i64::MAX),
        Err(VacationError::StartOutOfRange { start_ms: i64::MAX })
    );
    assert_eq!(
        with(&|params| params.per_second = NonZeroU32::MAX),
        Err(VacationError::TooManyPerSecond {
            per_second: u32::MAX
        })
    );
    assert_eq!(
        with(&|params| params.late_by_ms = (2, 1)),
        Err(VacationError::DelaysReversed { least: 2, most: 1 })
    );
}
