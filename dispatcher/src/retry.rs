//! Events that wait for a partner: when each is due, who is woken by a key, and when to give up. Pure: time is an
//! argument, jitter comes from the token.
//!
//! What waits stands here and nowhere else, and is handed out once (RULE 30): [`Retry::take`] moves it out. It gives up after a
//! *time*, not after a number of attempts (RULE 28), and the time runs from when this dispatcher saw the event first,
//! never from its timestamp: a mirrored topic has timestamps of years ago, and its events deserve their wait as well.
//! The other side of it: a dispatcher that takes over a partition begins to count anew.

use crate::recent::Recent;
use crate::{Backoff, Mark, Millis};
use rtf_proto::{JoinKey, Token};
use rtf_service::mutant;
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

/// What decides when an event is tried again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Terms {
    /// Who wakes it.
    pub key: JoinKey,
    /// Its attempt chain; spreads the back-off.
    pub token: Token,
    /// When it was seen first.
    pub first_seen: Millis,
    /// How often it was tried.
    pub attempts: u32,
    /// [`Retry::mark`] when the last attempt began.
    pub asked: Mark,
    /// What it costs in memory, bytes.
    pub bytes: usize,
}

type Ticket = u64;

#[derive(Debug)]
struct Waiting<T> {
    item: T,
    /// Who wakes it; nobody while it collects.
    key: Option<JoinKey>,
    due: Millis,
    first_seen: Millis,
    bytes: usize,
}

/// The waiting set. It does not bound itself: its owner stops reading when [`len`](Self::len) or [`bytes`](Self::bytes) is too much.
#[derive(Debug)]
pub struct Retry<T> {
    backoff: Backoff,
    wait_max: Millis,
    tickets: Ticket,
    /// Boxed: the table is twice as large now and then as it needs to be.
    waiting: HashMap<Ticket, Box<Waiting<T>>>,
    by_key: BTreeSet<(JoinKey, Ticket)>,
    by_due: BTreeSet<(Millis, Ticket)>,
    by_age: BTreeSet<(Millis, Ticket)>,
    bytes: usize,
    recent: Recent,
}

impl<T> Retry<T> {
    /// Nothing waits.
    pub fn new(backoff: Backoff, wait_max: Duration) -> Self {
        Self {
            backoff,
            wait_max: millis(wait_max),
            tickets: 0,
            waiting: HashMap::new(),
            by_key: BTreeSet::new(),
            by_due: BTreeSet::new(),
            by_age: BTreeSet::new(),
            bytes: 0,
            recent: Recent::default(),
        }
    }

    /// Now, in the order of wake-ups: to be noted when an attempt begins.
    pub fn mark(&self) -> Mark {
        self.recent.mark()
    }

    /// An attempt was in vain. Due after a back-off or when it is time to give up, whichever is earlier; at once
    /// when its key was woken while the attempt was under way.
    pub fn wait(&mut self, item: T, terms: Terms, now: Millis) {
        let due = if self.was_woken(&terms) {
            now
        } else {
            let delay = millis(self.backoff.delay(terms.attempts, terms.token.0));
            now.saturating_add(delay)
                .min(self.deadline(terms.first_seen))
                .max(now)
        };
        self.insert(Waiting {
            item,
            key: Some(terms.key),
            due,
            first_seen: terms.first_seen,
            bytes: terms.bytes,
        });
    }

    /// It has a partner and collects more: due after exactly so long or when it is time to give up, whichever is earlier.
    /// Nothing wakes it before.
    pub fn hold(&mut self, item: T, terms: Terms, collect: Duration, now: Millis) {
        let due = now
            .saturating_add(millis(collect))
            .min(self.deadline(terms.first_seen))
            .max(now);
        self.insert(Waiting {
            item,
            key: None,
            due,
            first_seen: terms.first_seen,
            bytes: terms.bytes,
        });
    }

    fn insert(&mut self, waiting: Waiting<T>) {
        self.tickets += 1;
        let ticket = self.tickets;
        self.by_due.insert((waiting.due, ticket));
        self.by_age.insert((waiting.first_seen, ticket));
        if let Some(key) = &waiting.key {
            self.by_key.insert((key.clone(), ticket));
        }
        self.bytes += waiting.bytes;
        self.waiting.insert(ticket, Box::new(waiting));
    }

    /// Whether the key was woken since the attempt began that was in vain.
    pub fn was_woken(&self, terms: &Terms) -> bool {
        self.recent.woken_since(&terms.key, terms.asked)
    }

    /// Whether an event first seen then is to be given up.
    pub fn gives_up(&self, first_seen: Millis, now: Millis) -> bool {
        now >= self.deadline(first_seen)
    }

    /// A primary with one of these keys arrived: who waits for it is due now. Says how many that were.
    pub fn wake(&mut self, keys: &[JoinKey], now: Millis) -> usize {
        self.recent.note(keys, now);
        let mut woken = 0;
        for key in keys {
            let of_key = (key.clone(), Ticket::MIN)..=(key.clone(), Ticket::MAX);
            for (_, ticket) in self.by_key.range(of_key) {
                let waiting = self.waiting.get_mut(ticket).expect("indexed by key");
                if waiting.due > now {
                    self.by_due.remove(&(waiting.due, *ticket));
                    self.by_due.insert((now, *ticket));
                    waiting.due = now;
                    woken += 1;
                }
            }
        }
        woken
    }

    /// Those that are picked are due now. Says how many that are, with those that were due already.
    pub fn hurry(&mut self, now: Millis, picked: impl Fn(&T, &JoinKey) -> bool) -> usize {
        let mut hurried = 0;
        for (ticket, waiting) in &mut self.waiting {
            // What is held for a while is not waiting for anybody.
            let key = waiting.key.as_ref();
            if !key.is_some_and(|key| picked(&waiting.item, key)) {
                continue;
            }
            hurried += 1;
            if waiting.due > now {
                self.by_due.remove(&(waiting.due, *ticket));
                self.by_due.insert((now, *ticket));
                waiting.due = now;
            }
        }
        hurried
    }

    /// The first found of those picked, and when it is due.
    pub fn find(&self, picked: impl Fn(&T) -> bool) -> Option<(&T, Millis)> {
        let mut waiting = self.waiting.values();
        let found = waiting.find(|waiting| picked(&waiting.item))?;
        Some((&found.item, found.due))
    }

    /// Moves out what is due, in the order in which it became so: at most `events`, and no more once `bytes` are reached.
    pub fn take(&mut self, now: Millis, events: usize, bytes: usize) -> Vec<T> {
        let mut taken = Vec::new();
        let mut size = 0;
        while taken.len() < events && size < bytes {
            let Some(&(due, ticket)) = self.by_due.first() else {
                break;
            };
            if due > now {
                break;
            }
            let waiting = self.remove(ticket);
            if mutant::is("waiting-lost") && ticket.is_multiple_of(64) {
                continue;
            }
            size += waiting.bytes;
            taken.push(waiting.item);
        }
        taken
    }

    /// Drops what nobody shall wait for any more.
    pub fn forget(&mut self, gone: impl Fn(&T) -> bool) {
        let tickets: Vec<Ticket> = self
            .waiting
            .iter()
            .filter(|(_, waiting)| gone(&waiting.item))
            .map(|(ticket, _)| *ticket)
            .collect();
        for ticket in tickets {
            self.remove(ticket);
        }
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// What they cost in memory.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// When the oldest of them was seen first.
    pub fn oldest(&self) -> Option<Millis> {
        self.by_age.first().map(|(first_seen, _)| *first_seen)
    }

    /// How many there are by the time since they were first seen: below each of `bounds`, which ascend, and beyond the last.
    pub fn by_age(&self, now: Millis, bounds: &[Millis]) -> Vec<usize> {
        let mut counts = vec![0; bounds.len() + 1];
        for (first_seen, _) in &self.by_age {
            let age = now.saturating_sub(*first_seen);
            counts[bounds.partition_point(|bound| *bound <= age)] += 1;
        }
        counts
    }

    /// When the next is due.
    pub fn next_due(&self) -> Option<Millis> {
        self.by_due.first().map(|(due, _)| *due)
    }

    fn deadline(&self, first_seen: Millis) -> Millis {
        first_seen.saturating_add(self.wait_max)
    }

    fn remove(&mut self, ticket: Ticket) -> Waiting<T> {
        let waiting = *self.waiting.remove(&ticket).expect("it waits");
        self.by_due.remove(&(waiting.due, ticket));
        self.by_age.remove(&(waiting.first_seen, ticket));
        self.bytes -= waiting.bytes;
        if let Some(key) = &waiting.key {
            self.by_key.remove(&(key.clone(), ticket));
        }
        waiting
    }
}

fn millis(duration: Duration) -> Millis {
    Millis::try_from(duration.as_millis()).unwrap_or(Millis::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BACKOFF: Backoff = Backoff {
        first: Duration::from_millis(40),
        max: Duration::from_millis(400),
    };
    const WAIT_MAX: u64 = 1_000;

    /// The naive model: a list.
    struct Naive {
        item: u32,
        /// None while it collects.
        key: Option<u8>,
        due: Millis,
        first_seen: Millis,
        bytes: usize,
    }

    #[derive(Clone, Debug)]
    enum Op {
        /// An attempt that began `ago` batches of wake-ups ago was in vain.
        Wait {
            key: u8,
            age: u64,
            attempts: u32,
            ago: usize,
            bytes: usize,
        },
        /// An attempt found a partner, and waits so long for more.
        Hold {
            key: u8,
            age: u64,
            collect: u64,
        },
        Wake(Vec<u8>),
        Take {
            events: usize,
            bytes: usize,
        },
        Pass(u64),
        Hurry(u8),
        Forget(u8),
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            6 => (0u8..6, 0u64..1_200, 1u32..8, 0usize..3, 1usize..50)
                .prop_map(|(key, age, attempts, ago, bytes)| Op::Wait { key, age, attempts, ago, bytes }),
            3 => (0u8..6, 0u64..1_200, 0u64..500).prop_map(|(key, age, collect)| Op::Hold { key, age, collect }),
            2 => prop::collection::vec(0u8..6, 0..4).prop_map(Op::Wake),
            4 => (1usize..5, 1usize..100).prop_map(|(events, bytes)| Op::Take { events, bytes }),
            4 => (0u64..300).prop_map(Op::Pass),
            1 => (0u8..6).prop_map(Op::Hurry),
            1 => (0u8..6).prop_map(Op::Forget),
        ]
    }

    fn key(number: u8) -> JoinKey {
        JoinKey::from(number.to_string())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_000))]

        #[test]
        fn does_what_the_naive_model_does(ops in prop::collection::vec(op(), 0..120)) {
            let mut retry: Retry<u32> = Retry::new(BACKOFF, Duration::from_millis(WAIT_MAX));
            let mut list: Vec<Naive> = Vec::new();
            let mut wakes: Vec<Vec<u8>> = Vec::new();
            let mut marks = vec![retry.mark()];
            let (mut now, mut items) = (2_000, 0);
            for op in ops {
                match op {
                    Op::Wait { key: k, age, attempts, ago, bytes } => {
                        items += 1;
                        let ago = ago.min(wakes.len());
                        let first_seen = now - age;
                        let terms = Terms { key: key(k), token: Token(u64::from(items)), first_seen, attempts, asked: marks[wakes.len() - ago], bytes };
                        retry.wait(items, terms, now);
                        let woken = wakes[wakes.len() - ago..].iter().flatten().any(|w| *w == k);
                        let delay = u64::try_from(BACKOFF.delay(attempts, u64::from(items)).as_millis()).unwrap();
                        let due = if woken { now } else { (now + delay).min(first_seen + WAIT_MAX).max(now) };
                        list.push(Naive { item: items, key: Some(k), due, first_seen, bytes });
                    }
                    Op::Hold { key: k, age, collect } => {
                        items += 1;
                        let first_seen = now - age;
                        // Woken or not since it was asked: that changes nothing.
                        let terms = Terms { key: key(k), token: Token(7), first_seen, attempts: 1, asked: marks[0], bytes: 9 };
                        retry.hold(items, terms, Duration::from_millis(collect), now);
                        let due = (now + collect).min(first_seen + WAIT_MAX).max(now);
                        list.push(Naive { item: items, key: None, due, first_seen, bytes: 9 });
                    }
                    Op::Wake(keys) => {
                        let named: Vec<JoinKey> = keys.iter().map(|k| key(*k)).collect();
                        let mut expected = 0;
                        for naive in list.iter_mut().filter(|n| n.key.is_some_and(|k| keys.contains(&k)) && n.due > now) {
                            naive.due = now;
                            expected += 1;
                        }
                        prop_assert_eq!(retry.wake(&named, now), expected);
                        wakes.push(keys);
                        marks.push(retry.mark());
                    }
                    Op::Take { events, bytes } => {
                        let mut expected = Vec::new();
                        let mut size = 0;
                        while expected.len() < events && size < bytes {
                            // Item numbers grow as tickets do.
                            let Some(at) = (0..list.len()).filter(|i| list[*i].due <= now).min_by_key(|i| (list[*i].due, list[*i].item)) else { break };
                            let naive = list.remove(at);
                            size += naive.bytes;
                            expected.push(naive.item);
                        }
                        prop_assert_eq!(retry.take(now, events, bytes), expected);
                    }
                    Op::Pass(ms) => now += ms,
                    Op::Hurry(k) => {
                        let mut expected = 0;
                        for naive in list.iter_mut().filter(|naive| naive.key == Some(k)) {
                            naive.due = naive.due.min(now);
                            expected += 1;
                        }
                        prop_assert_eq!(retry.hurry(now, |_, named| *named == key(k)), expected);
                    }
                    Op::Forget(rest) => {
                        retry.forget(|item| item % 6 == u32::from(rest));
                        list.retain(|naive| naive.item % 6 != u32::from(rest));
                    }
                }
                prop_assert_eq!(retry.len(), list.len());
                prop_assert_eq!(retry.is_empty(), list.is_empty());
                prop_assert_eq!(retry.bytes(), list.iter().map(|n| n.bytes).sum::<usize>());
                prop_assert_eq!(retry.oldest(), list.iter().map(|n| n.first_seen).min());
                let younger = |bound| list.iter().filter(|n| now - n.first_seen < bound).count();
                let ages = [younger(300), younger(900) - younger(300), list.len() - younger(900)];
                prop_assert_eq!(retry.by_age(now, &[300, 900]), ages);
                prop_assert_eq!(retry.next_due(), list.iter().map(|n| n.due).min());
                prop_assert_eq!(retry.by_key.len(), list.iter().filter(|n| n.key.is_some()).count());
            }
        }
    }

    #[test]
    fn giving_up_depends_on_the_first_sight_only() {
        let retry: Retry<()> = Retry::new(BACKOFF, Duration::from_millis(WAIT_MAX));
        assert!(!retry.gives_up(5, 5 + WAIT_MAX - 1));
        assert!(retry.gives_up(5, 5 + WAIT_MAX));
        let patient: Retry<()> = Retry::new(BACKOFF, Duration::MAX);
        assert!(!patient.gives_up(5, Millis::MAX - 1));
    }
}
