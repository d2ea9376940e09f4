//! Pair: a query and the click that came from it. Knows what becomes of each pair and its bytes, not the order of sending.

use std::num::NonZeroU32;

use crate::clicks::ClicksParams;
use crate::draws::{Draw, Draws, Lane};
use crate::event::{Event, Expect, Side};
use crate::expected::Expected;
use crate::ids::{Ids, Sort};
use crate::json::{push_hex, push_number};
use crate::repeats::FARTHEST_REPEAT;
use crate::share::Share;

/// When a query comes, as seen from its click.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    OnTime,
    Late,
    Never,
}

/// One query and its click, decided but not yet written.
pub(super) struct Pair {
    pub(super) index: u64,
    pub(super) arrival: Arrival,
    /// How many clicks later the click is sent again, if it is.
    pub(super) repeat_after: Option<u32>,
    draw: Draw,
}

/// Makes pairs and their bytes.
#[derive(Clone)]
pub(super) struct Pairs {
    draws: Draws,
    click_ids: Ids,
    query_ids: Ids,
    late: Share,
    orphans: Share,
    duplicates: Share,
    clock: Clock,
}

/// When the events of a pair happen and are sent.
#[derive(Clone, Copy)]
pub(crate) struct Clock {
    pub(crate) start_ms: i64,
    pub(crate) per_second: NonZeroU32,
    pub(crate) click_after_ms: i64,
    pub(crate) late_by_ms: i64,
}

// Which words of a pair's draw its query, its click and the padding of both are made from.
const QUERY_WORDS: usize = 4;
const CLICK_WORDS: usize = 10;
const PADDING_WORDS: usize = 16;

/// Values are this long, and up to [`LENGTH_SPREAD`] bytes longer.
const LENGTH: usize = 290;
const LENGTH_SPREAD: u32 = 10;

const TOPICS: [&str; 16] = [
    "cheap flights",
    "running shoes",
    "used bicycles",
    "garden chairs",
    "rain jacket",
    "city hotels",
    "coffee grinder",
    "guitar strings",
    "ski passes",
    "wool socks",
    "desk lamp",
    "cat food",
    "camping stove",
    "train tickets",
    "phone case",
    "bread knife",
];
const QUALIFIERS: [&str; 8] = [
    "near me",
    "for beginners",
    "under 100",
    "best 10",
    "second hand",
    "with reviews",
    "on sale",
    "this week",
];
const COUNTRIES: [&str; 8] = ["US", "DE", "FR", "BR", "IN", "JP", "NG", "MX"];
const DEVICES: [&str; 4] = ["phone", "tablet", "desktop", "tv"];
const HOSTS: [&str; 4] = [
    "shop.example.com",
    "ads.example.net",
    "www.example.org",
    "go.example.com",
];

impl Clock {
    pub(super) fn new(params: &ClicksParams) -> Self {
        Self {
            start_ms: params.start_ms,
            per_second: params.per_second,
            click_after_ms: i64::from(params.click_after_ms),
            late_by_ms: i64::from(params.late_by_ms),
        }
    }

    /// When the query of pair `index` is made, in milliseconds after the start.
    pub(crate) fn query_ms(self, index: u64) -> i64 {
        let ms = index.saturating_mul(1000) / u64::from(self.per_second.get());
        // Saturating here and below: at the far end of 64 bits times stand still instead of wrapping round.
        i64::try_from(ms).unwrap_or(i64::MAX)
    }

    pub(crate) fn click_ms(self, index: u64) -> i64 {
        self.query_ms(index).saturating_add(self.click_after_ms)
    }

    pub(crate) fn late_query_ms(self, index: u64) -> i64 {
        self.click_ms(index).saturating_add(self.late_by_ms)
    }

    /// When a record that stands beside pair `index` is sent.
    pub(super) fn beside_ms(self, index: u64, side: Side) -> i64 {
        match side {
            Side::Primary => self.query_ms(index),
            Side::Foreign => self.click_ms(index),
        }
    }

    /// The time written into an event that happens at `at_ms`.
    pub(crate) fn time(self, at_ms: i64) -> i64 {
        self.start_ms.saturating_add(at_ms)
    }
}

impl Pairs {
    pub(super) fn new(params: &ClicksParams) -> Self {
        let ids = |sort| Ids::new(params.seed, params.start_ms, sort);
        Self {
            draws: Draws::new(params.seed, Lane::Pairs),
            click_ids: ids(Sort::Click),
            query_ids: ids(Sort::Query),
            late: params.late,
            orphans: params.orphans,
            duplicates: params.duplicates,
            clock: Clock::new(params),
        }
    }

    /// Decides what becomes of pair `index`.
    pub(super) fn at(&mut self, index: u64) -> Pair {
        let mut draw = self.draws.at(index);
        let (orphan, late) = (draw.hits(self.orphans), draw.hits(self.late));
        let arrival = match (orphan, late) {
            (true, _) => Arrival::Never,
            (false, true) => Arrival::Late,
            (false, false) => Arrival::OnTime,
        };
        let repeat_after = draw
            .hits(self.duplicates)
            .then(|| draw.between(1, FARTHEST_REPEAT));
        Pair {
            index,
            arrival,
            repeat_after,
            draw,
        }
    }

    /// The query, which must not be an orphan's.
    pub(super) fn query(&self, pair: Pair) -> Event {
        let Pair {
            index,
            arrival,
            mut draw,
            ..
        } = pair;
        debug_assert_ne!(arrival, Arrival::Never, "an orphan's query is never sent");
        draw.skip_to(QUERY_WORDS);
        let made_ms = self.clock.query_ms(index);
        let at_ms = if arrival == Arrival::Late {
            self.clock.late_query_ms(index)
        } else {
            made_ms
        };

        let mut value = Vec::with_capacity(LENGTH + LENGTH_SPREAD as usize);
        value.extend_from_slice(b"{\"query_id\":\"");
        push_query_id(&mut value, self.query_ids.at(index));
        value.extend_from_slice(b"\",\"time\":");
        push_number(&mut value, self.clock.time(made_ms));
        push_texts(
            &mut value,
            [
                ",\"text\":\"",
                draw.pick(&TOPICS),
                " ",
                draw.pick(&QUALIFIERS),
                "\",\"country\":\"",
                draw.pick(&COUNTRIES),
                "\",\"device\":\"",
                draw.pick(&DEVICES),
                "\",\"safe_search\":\"moderate\",\"locale\":\"en-US\",\"page\":1,\"results\":",
            ],
        );
        push_number(&mut value, draw.below(1_000_000));
        let length = LENGTH + draw.below(LENGTH_SPREAD + 1) as usize;
        push_padding(&mut value, ",\"session\":\"", draw, 0, length);

        let key = key_of(self.query_ids.at(index));
        Event {
            side: Side::Primary,
            key: Some(key),
            value,
            at_ms,
            expect: Expect::None,
        }
    }

    /// The click.
    pub(super) fn click(&self, pair: Pair) -> Event {
        let Pair {
            index,
            arrival,
            mut draw,
            ..
        } = pair;
        draw.skip_to(CLICK_WORDS);
        let at_ms = self.clock.click_ms(index);

        let mut value = Vec::with_capacity(LENGTH + LENGTH_SPREAD as usize);
        value.extend_from_slice(b"{\"click_id\":\"");
        push_click_id(&mut value, self.click_ids.at(index));
        value.extend_from_slice(b"\",\"query_id\":\"");
        push_query_id(&mut value, self.query_ids.at(index));
        value.extend_from_slice(b"\",\"time\":");
        push_number(&mut value, self.clock.time(at_ms));
        push_texts(
            &mut value,
            [",\"url\":\"https://", draw.pick(&HOSTS), "/offer/"],
        );
        push_number(&mut value, draw.below(1_000_000));
        value.extend_from_slice(b"\",\"position\":");
        push_number(&mut value, draw.between(1, 12));
        push_texts(
            &mut value,
            [
                ",\"campaign\":\"",
                draw.pick(&TOPICS),
                "\",\"price_micros\":",
            ],
        );
        push_number(&mut value, draw.between(10_000, 4_000_000));
        let length = LENGTH + draw.below(LENGTH_SPREAD + 1) as usize;
        push_padding(&mut value, ",\"agent\":\"", draw, u32::MAX, length);

        let key = key_of(self.query_ids.at(index));
        let expect = if arrival == Arrival::Never {
            Expect::Orphan
        } else {
            Expect::Joins
        };
        Event {
            side: Side::Foreign,
            key: Some(key),
            value,
            at_ms,
            expect,
        }
    }

    /// The clicks `indices` again, at the place of click `place`.
    pub(super) fn again(&mut self, indices: Vec<u64>, place: u64) -> Vec<Event> {
        let at_ms = self.clock.click_ms(place);
        let again = |index| {
            let pair = self.at(index);
            Event {
                at_ms,
                expect: Expect::Duplicate,
                ..self.click(pair)
            }
        };
        indices.into_iter().map(again).collect()
    }

    /// What must come of the click.
    pub(super) fn expected(&self, pair: &Pair) -> Expected {
        let key = text(|out| push_query_id(out, self.query_ids.at(pair.index)));
        let id = text(|out| push_click_id(out, self.click_ids.at(pair.index)));
        if pair.arrival == Arrival::Never {
            Expected::Unjoinable { id, key }
        } else {
            Expected::Joined {
                id,
                primary: Some(key.clone()),
                key,
            }
        }
    }
}

fn push_click_id(out: &mut Vec<u8>, id: u64) {
    out.extend_from_slice(b"clk-");
    push_hex(out, id);
}

fn push_query_id(out: &mut Vec<u8>, id: u64) {
    out.extend_from_slice(b"qry-");
    push_hex(out, id);
}

fn key_of(query_id: u64) -> Vec<u8> {
    let mut key = Vec::with_capacity(20);
    push_query_id(&mut key, query_id);
    key
}

fn text(push: impl Fn(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    push(&mut out);
    String::from_utf8(out).expect("ids are ASCII")
}

fn push_texts<const N: usize>(out: &mut Vec<u8>, texts: [&str; N]) {
    for text in texts {
        out.extend_from_slice(text.as_bytes());
    }
}

/// Ends the value at `length` bytes with a last field of random digits, which compression can halve and no
/// more. What stands before must leave no more than the 128 digits of a draw. `twist` makes the digits of the pair's two sides differ.
fn push_padding(out: &mut Vec<u8>, field: &str, mut draw: Draw, twist: u32, length: usize) {
    out.extend_from_slice(field.as_bytes());
    let end = length - "\"}".len();
    draw.skip_to(PADDING_WORDS);
    while out.len() < end {
        let (high, low) = (draw.word() ^ twist, draw.word() ^ twist);
        push_hex(out, u64::from(high) << 32 | u64::from(low));
    }
    out.truncate(end);
    out.extend_from_slice(b"\"}");
}
