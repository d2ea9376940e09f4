//! Vacation: the demonstration. Tweets of people who long for one (foreign), and flight deals (primary).

mod deal;
mod phrases;
mod tweet;

use std::num::NonZeroU32;

use crate::airports::AIRPORTS;
use crate::event::{Event, Expect, Side};
use crate::expected::Expected;
use crate::merge::Merge;
use crate::repeats::{FARTHEST_REPEAT, Repeats};
use crate::share::Share;
pub use deal::Deal;
use deal::Deals;
pub use tweet::Tweet;
use tweet::Tweets;

/// The first start for which the ids of tweets can be told: 4 November 2010, 01:42:54.657 UTC.
const EARLIEST_START_MS: i64 = tweet::EPOCH_MS;
/// The last one, some time in 2070; ids reach to 2080.
const LATEST_START_MS: i64 = EARLIEST_START_MS + (1 << 41) - 1 - LONGEST_MS;
/// Where an endless stream of tweets ends after all: ten years after its start.
const LONGEST_MS: i64 = 3_650 * 24 * 3_600_000;
/// The most tweets a second for which their ids are unique: 2^22 in each millisecond.
const MOST_PER_SECOND: u32 = 1_000_000_000;

/// What the demonstration is made from.
#[derive(Clone, Debug, PartialEq)]
pub struct VacationParams {
    /// The same seed and parameters give the same bytes. Ids of deals follow from the seed alone, so that the
    /// next run with it replaces them; ids of tweets also from the time.
    pub seed: u64,
    /// Milliseconds since 1970 of the start.
    pub start_ms: i64,
    /// Flight deals; the n-th departs from the city n modulo 17.
    pub deals: u32,
    /// Tweets, without those sent twice; none for a stream without end (ten years, that is).
    pub tweets: Option<u64>,
    /// Tweets a second, for [`Event::at_ms`].
    pub per_second: NonZeroU32,
    /// Tweets from cities that no deal departs from.
    pub elsewhere: Share,
    /// Deals that come late; all others come at the start.
    pub late: Share,
    /// The least and the most milliseconds that a late deal is late.
    pub late_by_ms: (u32, u32),
    /// Tweets sent a second time, byte for byte, up to a thousand tweets later.
    pub duplicates: Share,
    /// Lines that are not JSON beside the good ones, on each side.
    pub malformed: Share,
}

impl Default for VacationParams {
    fn default() -> Self {
        Self {
            seed: 1,
            start_ms: 1_767_225_600_000, // 2026-01-01T00:00:00Z
            deals: 6_000,
            tweets: None,
            per_second: NonZeroU32::new(20).expect("not zero"),
            elsewhere: Share::per_thousand(50),
            late: Share::per_thousand(50),
            late_by_ms: (60_000, 300_000),
            duplicates: Share::per_thousand(20),
            malformed: Share::per_thousand(10),
        }
    }
}

/// Parameters that make no demonstration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VacationError {
    /// Ids of tweets hold their time, from the end of 2010 to 2080.
    #[error("start_ms {start_ms} is not between {EARLIEST_START_MS} and {LATEST_START_MS}")]
    StartOutOfRange {
        /// The start given.
        start_ms: i64,
    },
    /// More tweets in a millisecond than their ids can tell apart.
    #[error("{per_second} tweets a second are more than {MOST_PER_SECOND}")]
    TooManyPerSecond {
        /// The rate given.
        per_second: u32,
    },
    /// The least delay is above the most.
    #[error("late deals cannot be late by at least {least} ms and at most {most} ms")]
    DelaysReversed {
        /// The least delay given.
        least: u32,
        /// The most given.
        most: u32,
    },
}

impl VacationParams {
    fn check(&self) -> Result<(), VacationError> {
        let (start_ms, per_second) = (self.start_ms, self.per_second.get());
        let (least, most) = self.late_by_ms;
        if !(EARLIEST_START_MS..=LATEST_START_MS).contains(&start_ms) {
            return Err(VacationError::StartOutOfRange { start_ms });
        }
        if per_second > MOST_PER_SECOND {
            return Err(VacationError::TooManyPerSecond { per_second });
        }
        if least > most {
            return Err(VacationError::DelaysReversed { least, most });
        }
        Ok(())
    }

    /// When tweet `index` is sent, in milliseconds after the start; none if that is after the end.
    fn tweet_ms(&self, index: u64) -> Option<i64> {
        let ms = index.saturating_mul(1000) / u64::from(self.per_second.get());
        i64::try_from(ms).ok().filter(|&ms| ms < LONGEST_MS)
    }
}

/// The demonstration: its events in the order to send them, and what must come of them.
#[derive(Clone, Debug)]
pub struct Vacation {
    params: VacationParams,
    /// For each city when its last deal departs, in milliseconds after the start.
    last_departure_ms: [Option<i64>; AIRPORTS.len()],
}

impl Vacation {
    /// Checks the parameters, and looks when the last deal of each city departs.
    ///
    /// # Errors
    /// [`VacationError`] names the parameter that is out of bounds.
    pub fn new(params: VacationParams) -> Result<Self, VacationError> {
        params.check()?;
        let mut last_departure_ms = [None; AIRPORTS.len()];
        let mut deals = Deals::new(&params);
        for index in 0..params.deals {
            let last = &mut last_departure_ms[Deals::city(index)];
            *last = (*last).max(Some(deals.at(index).departs_ms - params.start_ms));
        }
        Ok(Self {
            params,
            last_departure_ms,
        })
    }

    /// What it was made from.
    #[must_use]
    pub fn params(&self) -> &VacationParams {
        &self.params
    }

    /// The facts of each deal, by index.
    pub fn deal_facts(&self) -> impl Iterator<Item = Deal> + Send + use<> {
        let mut deals = Deals::new(&self.params);
        (0..self.params.deals).map(move |index| deals.at(index))
    }

    /// The facts of each tweet, by index.
    pub fn tweet_facts(&self) -> impl Iterator<Item = Tweet> + Send + use<> {
        let mut tweets = Tweets::new(&self.params);
        let params = self.params.clone();
        (0..params.tweets.unwrap_or(u64::MAX))
            .map_while(move |index| params.tweet_ms(index).map(|at_ms| tweets.at(index, at_ms)))
    }

    /// The deals as events: first those on time and the lines that are none, then the late ones.
    pub fn deals(&self) -> impl Iterator<Item = Event> + Send + use<> {
        let mut deals = Deals::new(&self.params);
        let mut late: Vec<(i64, u32)> = (0..self.params.deals)
            .map(|index| (deals.at(index).delay_ms, index))
            .filter(|&(delay_ms, _)| delay_ms > 0)
            .collect();
        late.sort_unstable();

        let mut deals_late = deals.clone();
        let on_time = (0..self.params.deals).flat_map(move |index| {
            let deal = deals.at(index);
            let malformed = deals.malformed_beside(&deal);
            let on_time = (deal.delay_ms == 0).then(|| deal_event(&deal));
            on_time.into_iter().chain(malformed)
        });
        on_time.chain(
            late.into_iter()
                .map(move |(_, index)| deal_event(&deals_late.at(index))),
        )
    }

    /// The tweets as events, with those sent twice and the lines that are none.
    pub fn tweets(&self) -> impl Iterator<Item = Event> + Send + use<> {
        let this = self.clone();
        let mut tweets = Tweets::new(&self.params);
        // Repeats jump back; with draws of their own the others stay in sequence.
        let mut earlier = tweets.clone();
        let mut repeats = Repeats::default();
        let count = self.params.tweets.unwrap_or(u64::MAX);
        let places = count.saturating_add(u64::from(FARTHEST_REPEAT));
        (0..places)
            .map_while(move |place| {
                let at_ms = this.params.tweet_ms(place)?;
                let mut events: Vec<Event> = repeats
                    .take(place)
                    .into_iter()
                    .filter_map(|index| this.params.tweet_ms(index).map(|ms| earlier.at(index, ms)))
                    .map(|tweet| foreign(tweet.json(), at_ms, Expect::Duplicate))
                    .collect();
                if place < count {
                    let tweet = tweets.at(place, at_ms);
                    if let Some(after) = tweet.repeat_after {
                        repeats.note(place, after);
                    }
                    events.push(foreign(tweet.json(), at_ms, this.expect(&tweet)));
                    let malformed = tweets.malformed_beside(&tweet);
                    events.extend(malformed.map(|line| foreign(line, at_ms, Expect::Malformed)));
                }
                Some(events)
            })
            .flatten()
    }

    /// All of it in the order of [`Event::at_ms`].
    pub fn events(&self) -> impl Iterator<Item = Event> + Send + use<> {
        Merge::new([
            Box::new(self.deals()) as Box<dyn Iterator<Item = Event> + Send>,
            Box::new(self.tweets()),
        ])
    }

    /// The oracle: one for each record that the join log must accept when all events were sent in time.
    ///
    /// A tweet joins if a deal from its city still departs when it is sent at its [`Event::at_ms`]. Which
    /// deals it is joined with is the match policy's choice; [`Vacation::deal_facts`] has what it chooses from.
    pub fn expected(&self) -> impl Iterator<Item = Expected> + Send + use<> {
        let this = self.clone();
        let tweets = Tweets::new(&self.params);
        self.tweet_facts().flat_map(move |tweet| {
            let (id, key) = (tweet.id.to_string(), tweet.location.to_owned());
            let outcome = match this.expect(&tweet) {
                Expect::Joins => Expected::Joined {
                    id,
                    key,
                    primary: None,
                },
                _ => Expected::Unjoinable { id, key },
            };
            let malformed = tweets.malformed_beside(&tweet);
            [outcome]
                .into_iter()
                .chain(malformed.map(|value| Expected::Malformed { value }))
        })
    }

    fn expect(&self, tweet: &Tweet) -> Expect {
        let city = AIRPORTS
            .iter()
            .position(|airport| airport.city == tweet.location);
        let last_departure_ms = city.and_then(|city| self.last_departure_ms[city]);
        match last_departure_ms {
            Some(last) if tweet.at_ms < last => Expect::Joins,
            _ => Expect::Orphan,
        }
    }
}

fn foreign(value: Vec<u8>, at_ms: i64, expect: Expect) -> Event {
    Event {
        side: Side::Foreign,
        key: None,
        value,
        at_ms,
        expect,
    }
}

fn deal_event(deal: &Deal) -> Event {
    Event {
        side: Side::Primary,
        key: Some(deal.id.clone().into_bytes()),
        value: deal.json(),
        at_ms: deal.delay_ms,
        expect: Expect::None,
    }
}
