//! Several pipelines over the same input and one join log (Photon §3): which events this one begins with, and which it leaves to the others for a while. Pure.
//!
//! Each event belongs to one site, by a hash of its id. A site does its own at once, and the others' after a delay, when most of them are found resolved. So
//! each does its share, nobody has to know of anybody, and what a site does not do the others do a delay later. A site that lags behind finds its share done when it
//! gets there and catches up quickly; one that is dead is noticed by what it leaves undone: then its share is no longer left to it, but for a few events, which
//! tell when it is back. Whatever is guessed wrongly here costs work done twice, of which the log takes one.

use rtf_proto::EventId;
use rtf_proto::partitioner::murmur2;
use std::time::Duration;

/// Which of the pipelines this is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Site {
    /// Its number, from 0.
    pub number: u32,
    /// How many there are.
    pub of: u32,
    /// So long the others' events are left to them.
    pub claim: Duration,
}

/// So many of the others' events tell how they do.
const SAMPLE: u32 = 64;
/// When so few of a sample were resolved, the others are taken for dead.
const DEAD: u32 = SAMPLE / 4;
/// When so many were, they live.
const ALIVE: u32 = SAMPLE / 2;
/// One of so many is left to those who seem dead, to notice when they are back.
const PROBE: u32 = 64;

/// What is believed of the others.
#[derive(Debug)]
pub(crate) struct Sites {
    site: Option<Site>,
    seem_dead: bool,
    looked: u32,
    resolved: u32,
    passed: u32,
}

impl Sites {
    /// All live until they seem not to; without a site nobody else is there.
    pub fn new(site: Option<Site>) -> Self {
        Self {
            site: site.filter(|site| site.of > 1),
            seem_dead: false,
            looked: 0,
            resolved: 0,
            passed: 0,
        }
    }

    /// How long an event is left to the others; `None` for one that is begun with at once.
    pub fn leaves(&mut self, id: &EventId) -> Option<Duration> {
        let site = self.site?;
        // Other bits than those that choose the log's partition.
        if (murmur2(id.as_bytes()) >> 8) % site.of == site.number {
            return None;
        }
        if self.seem_dead {
            self.passed = (self.passed + 1) % PROBE;
            if self.passed != 0 {
                return None;
            }
        }
        Some(site.claim)
    }

    /// Whether one that was left to the others was resolved when it was looked at again.
    pub fn found(&mut self, resolved: bool) {
        self.looked += 1;
        self.resolved += u32::from(resolved);
        if self.looked < SAMPLE {
            return;
        }
        if self.resolved <= DEAD {
            self.seem_dead = true;
        } else if self.resolved >= ALIVE {
            self.seem_dead = false;
        }
        (self.looked, self.resolved) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(number: u32) -> Sites {
        Sites::new(Some(Site {
            number,
            of: 2,
            claim: Duration::from_secs(1),
        }))
    }

    fn left(sites: &mut Sites, events: std::ops::Range<u32>) -> usize {
        let ids = events.map(|n| EventId::from(format!("event {n}")));
        ids.filter(|id| sites.leaves(id).is_some()).count()
    }

    #[test]
    fn each_event_belongs_to_one_and_each_has_its_share() {
        let (mut one, mut two) = (site(0), site(1));
        let mut share = 0;
        for n in 0..10_000 {
            let id = EventId::from(format!("event {n}"));
            let (by_one, by_two) = (one.leaves(&id).is_none(), two.leaves(&id).is_none());
            assert!(by_one != by_two, "{n}");
            share += u32::from(by_one);
        }
        assert!((4_700..5_300).contains(&share), "{share}");
        assert_eq!(left(&mut Sites::new(None), 0..100), 0);
    }

    #[test]
    fn who_leaves_its_share_undone_is_not_waited_for_until_it_is_back() {
        let mut one = site(0);
        (0..SAMPLE).for_each(|n| one.found(n % 8 == 0));
        let probes = left(&mut one, 0..10_000);
        assert!((50..110).contains(&probes), "{probes}");
        (0..SAMPLE).for_each(|n| one.found(n % 8 != 0));
        assert!(left(&mut one, 0..10_000) > 4_700);
        // A few that it did not get to in time are no death.
        (0..SAMPLE).for_each(|n| one.found(n % 3 == 0));
        assert!(left(&mut one, 0..10_000) > 4_700);
    }
}
