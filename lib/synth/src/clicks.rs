//! Clicks: the load. Ad clicks (foreign) and the search queries they came from (primary), one to one.

pub(crate) mod malformed;
pub(crate) mod pair;

use std::num::NonZeroU32;

use crate::event::{Event, Side};
use crate::expected::Expected;
use crate::ids::{Ids, Sort};
use crate::merge::Merge;
use crate::repeats::{FARTHEST_REPEAT, Repeats};
use crate::share::Share;
use malformed::{Malformer, Names};
use pair::{Arrival, Clock, Pairs};

/// What the load is made from.
#[derive(Clone, Debug, PartialEq)]
pub struct ClicksParams {
    /// The same seed and parameters give the same bytes.
    pub seed: u64,
    /// Milliseconds since 1970 of the first query.
    pub start_ms: i64,
    /// Pairs of a query and a click. Orphans are among them; duplicates and malformed records come on top.
    pub count: u64,
    /// Pairs a second, for [`Event::at_ms`].
    pub per_second: NonZeroU32,
    /// Milliseconds from a query to its click.
    pub click_after_ms: u32,
    /// Milliseconds from a click to its query, where the query is late.
    pub late_by_ms: u32,
    /// Queries that come after their click.
    pub late: Share,
    /// Clicks whose query never comes.
    pub orphans: Share,
    /// Clicks sent a second time, byte for byte, up to a thousand clicks later.
    pub duplicates: Share,
    /// Malformed records beside the good ones, on each side, of each sort in turn.
    pub malformed: Share,
}

impl Default for ClicksParams {
    fn default() -> Self {
        Self {
            seed: 1,
            start_ms: 1_767_225_600_000, // 2026-01-01T00:00:00Z
            count: 100_000,
            per_second: NonZeroU32::new(5_000).expect("not zero"),
            click_after_ms: 50,
            late_by_ms: 2_000,
            late: Share::per_thousand(100),
            orphans: Share::per_thousand(10),
            duplicates: Share::per_thousand(10),
            malformed: Share::per_thousand(5),
        }
    }
}

fn malformer(params: &ClicksParams, side: Side) -> Malformer {
    let key = "query_id";
    let (sort, id) = match side {
        Side::Foreign => (Sort::MalformedClick, "click_id"),
        Side::Primary => (Sort::MalformedQuery, key),
    };
    Malformer {
        side,
        names: Names { id, key },
        share: params.malformed,
        ids: Ids::new(params.seed, params.start_ms, sort),
        clock: Clock::new(params),
    }
}

/// The load: its events in the order to send them, and what must come of them.
#[derive(Clone, Debug)]
pub struct Clicks {
    params: ClicksParams,
}

impl Clicks {
    /// Makes nothing yet.
    #[must_use]
    pub fn new(params: ClicksParams) -> Self {
        Self { params }
    }

    /// What it was made from.
    #[must_use]
    pub fn params(&self) -> &ClicksParams {
        &self.params
    }

    /// The queries that come before their click, with the malformed ones.
    pub fn queries_on_time(&self) -> impl Iterator<Item = Event> + Send + use<> {
        let mut pairs = Pairs::new(&self.params);
        let malformer = malformer(&self.params, Side::Primary);
        (0..self.params.count).flat_map(move |index| {
            let pair = pairs.at(index);
            let query = (pair.arrival == Arrival::OnTime).then(|| pairs.query(pair));
            query.into_iter().chain(malformer.beside(index))
        })
    }

    /// The clicks, with the duplicates and the malformed ones.
    pub fn clicks(&self) -> impl Iterator<Item = Event> + Send + use<> {
        let count = self.params.count;
        let mut pairs = Pairs::new(&self.params);
        // Repeats jump back; with draws of their own the others stay in sequence.
        let mut earlier = pairs.clone();
        let malformer = malformer(&self.params, Side::Foreign);
        let mut repeats = Repeats::default();
        (0..count.saturating_add(u64::from(FARTHEST_REPEAT))).flat_map(move |place| {
            let again = earlier.again(repeats.take(place), place);
            let fresh = (place < count).then(|| {
                let pair = pairs.at(place);
                if let Some(after) = pair.repeat_after {
                    repeats.note(place, after);
                }
                pairs.click(pair)
            });
            let malformed = (place < count).then(|| malformer.beside(place)).flatten();
            again.into_iter().chain(fresh).chain(malformed)
        })
    }

    /// The queries that come after their click.
    pub fn late_queries(&self) -> impl Iterator<Item = Event> + Send + use<> {
        let mut pairs = Pairs::new(&self.params);
        (0..self.params.count).filter_map(move |index| {
            let pair = pairs.at(index);
            (pair.arrival == Arrival::Late).then(|| pairs.query(pair))
        })
    }

    /// All of it in the order of [`Event::at_ms`].
    pub fn events(&self) -> impl Iterator<Item = Event> + Send + use<> {
        Merge::new([
            Box::new(self.queries_on_time()) as Box<dyn Iterator<Item = Event> + Send>,
            Box::new(self.clicks()),
            Box::new(self.late_queries()),
        ])
    }

    /// The oracle: one for each record that the join log must accept when all events were sent.
    pub fn expected(&self) -> impl Iterator<Item = Expected> + Send + use<> {
        let mut pairs = Pairs::new(&self.params);
        let malformer = malformer(&self.params, Side::Foreign);
        (0..self.params.count).flat_map(move |index| {
            let pair = pairs.at(index);
            let malformed = malformer
                .beside(index)
                .map(|event| Expected::Malformed { value: event.value });
            [pairs.expected(&pair)].into_iter().chain(malformed)
        })
    }
}
