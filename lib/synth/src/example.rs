//! Example: small workloads of foreign events that share keys, and one or more primaries of each key. Made in memory, all at once.

mod payments;
mod sensors;

use std::num::NonZeroU32;

use crate::clicks::malformed::{Malformer, Names};
use crate::clicks::pair::Clock;
use crate::contract::{Join, PAYMENTS, SENSORS};
use crate::draws::{Draw, Draws, Lane};
use crate::event::{Event, Expect, Side};
use crate::expected::Expected;
use crate::ids::{Ids, Sort};
use crate::repeats::FARTHEST_REPEAT;
use crate::share::Share;

/// From a primary that is on time to the first foreign event of its key.
const HEAD_START_MS: i64 = 50;

/// What an example is made from.
#[derive(Clone, Debug, PartialEq)]
pub struct ExampleParams {
    /// The same seed and parameters give the same bytes.
    pub seed: u64,
    /// Milliseconds since 1970 of the first primary.
    pub start_ms: i64,
    /// Foreign events. Orphans are among them; duplicates and malformed records come on top.
    pub count: u32,
    /// Foreign events a second, for [`Event::at_ms`].
    pub per_second: NonZeroU32,
    /// Keys they share, one after the other; none: each has its own.
    pub keys: Option<NonZeroU32>,
    /// Milliseconds from one primary of a key to the next; none: there is one.
    pub again_after_ms: Option<NonZeroU32>,
    /// Milliseconds from the first foreign event of a key to its primary, where that is late.
    pub late_by_ms: u32,
    /// Keys whose primaries are late.
    pub late: Share,
    /// Keys that never have any.
    pub orphans: Share,
    /// Foreign events sent a second time, byte for byte, up to a thousand events later.
    pub duplicates: Share,
    /// Malformed records beside the good ones, on each side, of each sort in turn.
    pub malformed: Share,
}

impl ExampleParams {
    /// 2,000 payments, each for an order of its own.
    #[must_use]
    pub fn payments() -> Self {
        Self {
            seed: 1,
            start_ms: 1_767_225_600_000, // 2026-01-01T00:00:00Z
            count: 2_000,
            per_second: NonZeroU32::new(100).expect("not zero"),
            keys: None,
            again_after_ms: None,
            late_by_ms: 3_000,
            late: Share::per_thousand(100),
            orphans: Share::per_thousand(50),
            duplicates: Share::per_thousand(20),
            malformed: Share::per_thousand(10),
        }
    }

    /// 2,000 readings of 40 sensors, each of which is calibrated every five seconds.
    #[must_use]
    pub fn sensors() -> Self {
        Self {
            keys: NonZeroU32::new(40),
            again_after_ms: NonZeroU32::new(5_000),
            ..Self::payments()
        }
    }
}

/// What tells one example from another.
#[derive(Clone, Copy)]
struct Theme {
    join: Join,
    foreign: Words,
    primary: Words,
    /// What ids of keys begin with.
    key_prefix: &'static str,
}

/// How events of one side are written.
#[derive(Clone, Copy)]
struct Words {
    names: Names,
    /// What ids begin with; not used where the id is the key.
    id_prefix: &'static str,
    /// The fields behind id, key and time, each with a comma before it: from the draw of the key and the event's own.
    rest: fn(Draw, Draw) -> String,
}

/// An example: its events in the order to send them, and what must come of them.
#[derive(Clone)]
pub struct Example {
    params: ExampleParams,
    theme: Theme,
}

/// What becomes of the foreign events of a key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Arrival {
    OnTime,
    Late,
    Never,
}

impl Example {
    /// Payments (foreign) and the orders they are for (primary).
    #[must_use]
    pub fn payments(params: ExampleParams) -> Self {
        let theme = payments::THEME;
        Self { params, theme }
    }

    /// Readings of sensors (foreign) and calibrations of these (primary).
    #[must_use]
    pub fn sensors(params: ExampleParams) -> Self {
        let theme = sensors::THEME;
        Self { params, theme }
    }

    /// What it was made from.
    #[must_use]
    pub fn params(&self) -> &ExampleParams {
        &self.params
    }

    /// The topics and pointers it is made for.
    #[must_use]
    pub fn join(&self) -> Join {
        self.theme.join
    }

    /// All of it in the order of [`Event::at_ms`].
    pub fn events(&self) -> impl Iterator<Item = Event> + Send + use<> {
        let mut events = Vec::new();
        for key in 0..self.keys() {
            events.extend(self.primaries(key));
        }
        for side in [Side::Primary, Side::Foreign] {
            let malformer = self.malformer(side);
            events.extend((0..self.count()).filter_map(|index| malformer.beside(index)));
        }
        events.extend((0..self.count()).map(|index| self.foreign(index)));
        events.extend((0..self.count()).filter_map(|index| self.repeat(index)));
        // Stable: what repeats an event stays behind it.
        events.sort_by_key(|event| event.at_ms);
        events.into_iter()
    }

    /// The oracle: one for each record that the join log must accept when all events were sent.
    pub fn expected(&self) -> impl Iterator<Item = Expected> + use<> {
        let malformer = self.malformer(Side::Foreign);
        let this = self.clone();
        (0..self.count()).flat_map(move |index| {
            let malformed = malformer.beside(index);
            let malformed = malformed.map(|event| Expected::Malformed { value: event.value });
            [this.ends(index)].into_iter().chain(malformed)
        })
    }

    fn count(&self) -> u64 {
        self.params.count.into()
    }

    fn keys(&self) -> u64 {
        let keys = self
            .params
            .keys
            .map_or(self.count(), |keys| keys.get().into());
        keys.min(self.count())
    }

    fn key_of(&self, index: u64) -> u64 {
        index % self.keys()
    }

    /// A primary that is not the first one of its key comes for as long as foreign events do.
    fn versions(&self) -> u64 {
        let Some(every) = self.params.again_after_ms else {
            return 1;
        };
        let last_ms = self.clock().query_ms(self.count()).unsigned_abs();
        1 + last_ms / u64::from(every.get())
    }

    fn clock(&self) -> Clock {
        Clock {
            start_ms: self.params.start_ms,
            per_second: self.params.per_second,
            click_after_ms: HEAD_START_MS,
            late_by_ms: self.params.late_by_ms.into(),
        }
    }

    fn id(&self, prefix: &str, sort: Sort, index: u64) -> String {
        let ids = Ids::new(self.params.seed, self.params.start_ms, sort);
        format!("{prefix}{:016x}", ids.at(index))
    }

    fn key(&self, key: u64) -> String {
        self.id(self.theme.key_prefix, Sort::Key, key)
    }

    fn draw(&self, lane: Lane, index: u64) -> Draw {
        Draws::new(self.params.seed, lane).at(index)
    }

    fn arrival(&self, key: u64) -> Arrival {
        let mut draw = self.draw(Lane::Keys, key);
        let (orphan, late) = (draw.hits(self.params.orphans), draw.hits(self.params.late));
        match (orphan, late) {
            (true, _) => Arrival::Never,
            (false, true) => Arrival::Late,
            (false, false) => Arrival::OnTime,
        }
    }

    fn primary_id(&self, key: u64, version: u64) -> String {
        let words = self.theme.primary;
        if words.names.id == words.names.key {
            return self.key(key);
        }
        let index = version * self.keys() + key;
        self.id(words.id_prefix, Sort::Primary, index)
    }

    fn primaries(&self, key: u64) -> Vec<Event> {
        let clock = self.clock();
        let (first_ms, versions) = match self.arrival(key) {
            Arrival::Never => return Vec::new(),
            Arrival::Late => (clock.late_query_ms(key), self.versions()),
            Arrival::OnTime => (clock.query_ms(key), self.versions()),
        };
        let every = self.params.again_after_ms.map_or(0, NonZeroU32::get);
        let event = |version: u64| {
            let at_ms = first_ms + i64::try_from(version * u64::from(every)).unwrap_or(i64::MAX);
            // Made when it should have come.
            let late_ms = first_ms - clock.query_ms(key);
            let id = self.primary_id(key, version);
            let own = self.draw(Lane::Primaries, version * self.keys() + key);
            let value = self.value(self.theme.primary, &id, key, at_ms - late_ms, own);
            self.event(Side::Primary, key, value, at_ms, Expect::None)
        };
        (0..versions).map(event).collect()
    }

    fn foreign_id(&self, index: u64) -> String {
        self.id(self.theme.foreign.id_prefix, Sort::Foreign, index)
    }

    fn foreign(&self, index: u64) -> Event {
        let key = self.key_of(index);
        let at_ms = self.clock().click_ms(index);
        let own = self.draw(Lane::Foreigns, index);
        let id = self.foreign_id(index);
        let value = self.value(self.theme.foreign, &id, key, at_ms, own);
        let expect = match self.arrival(key) {
            Arrival::Never => Expect::Orphan,
            Arrival::OnTime | Arrival::Late => Expect::Joins,
        };
        self.event(Side::Foreign, key, value, at_ms, expect)
    }

    /// The same event again, if it is sent twice.
    fn repeat(&self, index: u64) -> Option<Event> {
        let mut own = self.draw(Lane::Foreigns, index);
        own.skip_to(REPEAT_WORDS);
        if !own.hits(self.params.duplicates) {
            return None;
        }
        let after = u64::from(own.between(1, FARTHEST_REPEAT));
        Some(Event {
            at_ms: self.clock().click_ms(index + after),
            expect: Expect::Duplicate,
            ..self.foreign(index)
        })
    }

    fn event(&self, side: Side, key: u64, value: String, at_ms: i64, expect: Expect) -> Event {
        Event {
            side,
            key: Some(self.key(key).into_bytes()),
            value: value.into_bytes(),
            at_ms,
            expect,
        }
    }

    fn value(&self, words: Words, id: &str, key: u64, at_ms: i64, own: Draw) -> String {
        let Names {
            id: id_name,
            key: key_name,
        } = words.names;
        let id_field = match id_name == key_name {
            true => String::new(),
            false => format!("\"{id_name}\":\"{id}\","),
        };
        let (key_text, time) = (self.key(key), self.clock().time(at_ms));
        let rest = (words.rest)(self.draw(Lane::Keys, key), own);
        format!("{{{id_field}\"{key_name}\":\"{key_text}\",\"time\":{time}{rest}}}")
    }

    fn malformer(&self, side: Side) -> Malformer {
        let (sort, words) = match side {
            Side::Foreign => (Sort::MalformedForeign, self.theme.foreign),
            Side::Primary => (Sort::MalformedPrimary, self.theme.primary),
        };
        Malformer {
            side,
            names: words.names,
            share: self.params.malformed,
            ids: Ids::new(self.params.seed, self.params.start_ms, sort),
            clock: self.clock(),
        }
    }

    fn ends(&self, index: u64) -> Expected {
        let key = self.key_of(index);
        let (id, text) = (self.foreign_id(index), self.key(key));
        if self.arrival(key) == Arrival::Never {
            return Expected::Unjoinable { id, key: text };
        }
        let primary = (self.versions() == 1).then(|| self.primary_id(key, 0));
        Expected::Joined {
            id,
            key: text,
            primary,
        }
    }
}

// Of a key's draw the first words decide when its primaries come; of a foreign event's own the last whether it is repeated.
const KEY_WORDS: usize = 4;
const REPEAT_WORDS: usize = 24;

/// An amount with two places, such as `12.50`.
fn cents(amount: u32) -> String {
    format!("{}.{:02}", amount / 100, amount % 100)
}
