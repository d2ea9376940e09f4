//! Deal: a flight at a price. Knows its facts and its JSON, not who takes it.

use std::io::Write;

use chrono::{DateTime, SecondsFormat};

use crate::airports::{AIRPORTS, Airport};
use crate::draws::{Draws, Lane};
use crate::event::{Event, Expect, Side};
use crate::ids::{Ids, Sort};
use crate::json::{Charset, push_string};
use crate::vacation::VacationParams;

/// The airlines, invented as the fares are, with the two letters of their flights.
const AIRLINES: [(&str, &str); 7] = [
    ("Bluebird Air", "BB"),
    ("Coastline Airways", "CW"),
    ("Great Plains Air", "GP"),
    ("Liberty Wings", "LW"),
    ("Redwood Airlines", "RW"),
    ("Sunset Express", "SX"),
    ("Transcontinental", "TC"),
];

const MINUTE_MS: i64 = 60_000;
/// Departures are on a round five minutes.
const STEP_MS: i64 = 5 * MINUTE_MS;
/// The first departure, in steps after the start: 6 hours.
const FIRST_DEPARTURE: u32 = 6 * 12;
/// The last one: 30 days.
const LAST_DEPARTURE: u32 = 30 * 24 * 12;

/// A flight deal.
#[derive(Clone, Debug, PartialEq)]
pub struct Deal {
    /// Its id, which is also Kafka's message key.
    pub id: String,
    /// Its place in the order of making.
    pub index: u32,
    /// The airline's name.
    pub airline: &'static str,
    /// Two letters and a number.
    pub flight: String,
    /// Where it departs; the city is the join key.
    pub from: &'static Airport,
    /// Where it arrives.
    pub to: &'static Airport,
    /// Milliseconds since 1970.
    pub departs_ms: i64,
    /// Milliseconds since 1970.
    pub arrives_ms: i64,
    /// US cents.
    pub fare_cents: u32,
    /// How late it is sent, in milliseconds after the start; 0 for on time.
    pub delay_ms: i64,
}

/// Makes deals.
#[derive(Clone)]
pub(super) struct Deals {
    params: VacationParams,
    draws: Draws,
    ids: Ids,
    malformed_ids: Ids,
}

impl Deals {
    pub(super) fn new(params: &VacationParams) -> Self {
        Self {
            params: params.clone(),
            draws: Draws::new(params.seed, Lane::Deals),
            ids: Ids::new(params.seed, 0, Sort::Deal),
            malformed_ids: Ids::new(params.seed, params.start_ms, Sort::MalformedDeal),
        }
    }

    /// The place in [`AIRPORTS`] from which deal `index` departs: each city in turn, so that few deals reach all.
    pub(super) fn city(index: u32) -> usize {
        index as usize % AIRPORTS.len()
    }

    pub(super) fn at(&mut self, index: u32) -> Deal {
        let mut draw = self.draws.at(u64::from(index));
        let (least, most) = self.params.late_by_ms;
        let (late, late_ms) = (draw.hits(self.params.late), draw.between(least, most));
        let (airline, letters) = draw.pick(&AIRLINES);
        let number = draw.between(100, 9_999);

        let city = Self::city(index);
        let others = AIRPORTS.len() as u32 - 1;
        let from = &AIRPORTS[city];
        let to = &AIRPORTS[(city + 1 + draw.below(others) as usize) % AIRPORTS.len()];
        let distance_km = from.distance_km(to);

        let steps = draw.between(FIRST_DEPARTURE, LAST_DEPARTURE);
        let departs_ms = self.params.start_ms / STEP_MS * STEP_MS + i64::from(steps) * STEP_MS;
        // Half an hour to climb and land, and 780 km/h between.
        let minutes = 30 + distance_km * 60 / 780;
        // A base, and 4 to 14 cents a kilometre.
        let fare_cents = 2_900 + draw.below(4_000) + distance_km * draw.between(40, 140) / 10;

        Deal {
            id: format!("deal-{:016x}", self.ids.at(u64::from(index))),
            index,
            airline,
            flight: format!("{letters}{number}"),
            from,
            to,
            departs_ms,
            arrives_ms: departs_ms + i64::from(minutes) * MINUTE_MS,
            fare_cents,
            delay_ms: if late { i64::from(late_ms) } else { 0 },
        }
    }

    /// The line that is no deal beside `deal`, if there is one: a row of somebody's table.
    pub(super) fn malformed_beside(&self, deal: &Deal) -> Option<Event> {
        let nth = self.params.malformed.nth_at(u64::from(deal.index))?;
        let unique = self.malformed_ids.at(nth);
        let (from, to) = (deal.from.code, deal.to.code);
        let value = format!("{unique:016x};{};{from};{to};{}", deal.airline, deal.flight);
        Some(Event {
            side: Side::Primary,
            key: None,
            value: value.into_bytes(),
            at_ms: 0,
            expect: Expect::Malformed,
        })
    }
}

impl Deal {
    /// The deal as a JSON object.
    #[must_use]
    pub fn json(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(800);
        push_field(&mut out, '{', "id", &self.id);
        push_field(&mut out, ',', "airline", self.airline);
        push_field(&mut out, ',', "flightNumber", &self.flight);
        push_airport(&mut out, "departure", self.from);
        push_airport(&mut out, "arrival", self.to);
        push_field(&mut out, ',', "departureTime", &time(self.departs_ms));
        push_field(&mut out, ',', "arrivalTime", &time(self.arrives_ms));
        let (dollars, cents) = (self.fare_cents / 100, self.fare_cents % 100);
        push(
            &mut out,
            format_args!(",\"totalFare\":{dollars}.{cents:02}"),
        );
        push_field(&mut out, ',', "currency", "USD");
        out.push(b'}');
        out
    }
}

fn time(ms: i64) -> String {
    DateTime::from_timestamp_millis(ms)
        .expect("checked parameters keep within the calendar")
        .to_rfc3339_opts(SecondsFormat::Secs, true)
}

fn push_airport(out: &mut Vec<u8>, end: &str, airport: &Airport) {
    push_field(out, ',', &format!("{end}AirportCode"), airport.code);
    push_field(out, ',', &format!("{end}AirportName"), airport.name);
    push_field(out, ',', &format!("{end}AirportLocation"), airport.city);
    push(
        out,
        format_args!(",\"{end}AirportLat\":{}", airport.latitude),
    );
    push(
        out,
        format_args!(",\"{end}AirportLon\":{}", airport.longitude),
    );
}

fn push_field(out: &mut Vec<u8>, before: char, name: &str, value: &str) {
    push(out, format_args!("{before}\"{name}\":"));
    push_string(out, value, Charset::Utf8);
}

fn push(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to memory cannot fail");
}
