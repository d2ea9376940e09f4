//! A consumer group: who reads which partition, and what was committed. Cooperative: a partition is given on when it was let go of.

use rand::Rng;
use rand::seq::SliceRandom;
use rtf_kafka::simulated::{MemberId, Order};
use rtf_proto::{Offset, PartitionId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A member that did not poll for so long is dead.
const SESSION_MS: u64 = 6_000;

#[derive(Default, Debug)]
struct Member {
    polled_ms: u64,
    owned: BTreeSet<PartitionId>,
    /// To be revoked, and not let go of yet.
    leaving: BTreeSet<PartitionId>,
    orders: VecDeque<Order>,
    /// Its session ended without its knowing.
    is_out: bool,
}

/// A group over one topic.
#[derive(Debug)]
pub struct Group {
    /// The topic.
    pub topic: String,
    partitions: u32,
    members: BTreeMap<MemberId, Member>,
    target: BTreeMap<PartitionId, MemberId>,
    committed: BTreeMap<PartitionId, Offset>,
}

impl Group {
    /// Nobody is in it.
    pub fn new(topic: &str, partitions: u32) -> Self {
        Self {
            topic: topic.into(),
            partitions,
            members: BTreeMap::new(),
            target: BTreeMap::new(),
            committed: BTreeMap::new(),
        }
    }

    /// Somebody comes.
    pub fn join(&mut self, member: MemberId, now_ms: u64, random: &mut impl Rng) {
        let new = Member {
            polled_ms: now_ms,
            ..Member::default()
        };
        self.members.insert(member, new);
        self.rebalance(random);
    }

    /// Somebody goes.
    pub fn leave(&mut self, member: MemberId, random: &mut impl Rng) {
        self.members.remove(&member);
        self.rebalance(random);
    }

    /// Who was silent for too long is out; whether anybody is.
    pub fn expire(&mut self, now_ms: u64, random: &mut impl Rng) -> bool {
        let mut is_anybody = false;
        for member in self.members.values_mut().filter(|member| !member.is_out) {
            if now_ms > member.polled_ms + SESSION_MS {
                member.is_out = true;
                is_anybody = true;
            }
        }
        if is_anybody {
            self.rebalance(random);
        }
        is_anybody
    }

    /// Gives each partition to somebody, anew.
    pub fn rebalance(&mut self, random: &mut impl Rng) {
        let mut living: Vec<MemberId> = (self.members.iter())
            .filter(|(_, member)| !member.is_out)
            .map(|(id, _)| *id)
            .collect();
        living.shuffle(random);
        self.target.clear();
        if living.is_empty() {
            return;
        }
        for partition in 0..self.partitions {
            let id = living[partition as usize % living.len()];
            self.target.insert(partition, id);
        }
        for (id, member) in &mut self.members {
            let is_wrong = |p: &PartitionId| self.target.get(p) != Some(id);
            let goes: Vec<_> = (member.owned.difference(&member.leaving).copied())
                .filter(is_wrong)
                .collect();
            if !goes.is_empty() && !member.is_out {
                member.leaving.extend(&goes);
                member.orders.push_back(Order::Revoked(goes));
            }
        }
        self.give();
    }

    /// Gives away what nobody has.
    fn give(&mut self) {
        let owned: BTreeSet<PartitionId> = (self.members.values())
            .filter(|member| !member.is_out)
            .flat_map(|member| member.owned.iter().copied())
            .collect();
        let free = (0..self.partitions).filter(|partition| !owned.contains(partition));
        for partition in free.collect::<Vec<_>>() {
            let to = self.target.get(&partition);
            if let Some(member) = to.and_then(|id| self.members.get_mut(id)) {
                let from = self.committed.get(&partition).copied().unwrap_or(0);
                member.owned.insert(partition);
                let order = Order::Assigned(vec![(partition, from)]);
                member.orders.push_back(order);
            }
        }
    }

    /// What there is to say to a member.
    pub fn order(&mut self, id: MemberId, now_ms: u64, random: &mut impl Rng) -> Option<Order> {
        let member = self.members.get_mut(&id)?;
        member.polled_ms = now_ms;
        if !member.is_out {
            return member.orders.pop_front();
        }
        let lost = std::mem::take(member);
        member.polled_ms = now_ms;
        // It may not have heard of all it was given; what it does not know it does not miss.
        let lost = lost.owned.into_iter().collect();
        self.rebalance(random);
        Some(Order::Lost(lost))
    }

    /// A member has let go of what was revoked.
    pub fn let_go(&mut self, id: MemberId, partitions: &[PartitionId]) {
        if let Some(member) = self.members.get_mut(&id) {
            for partition in partitions {
                member.owned.remove(partition);
                member.leaving.remove(partition);
            }
        }
        self.give();
    }

    /// Takes positions, unless the member is out; whether it did.
    pub fn commit(&mut self, id: MemberId, positions: &[(PartitionId, Offset)]) -> bool {
        let is_in = self.members.get(&id).is_some_and(|member| !member.is_out);
        if is_in {
            self.committed.extend(positions.iter().copied());
        }
        is_in
    }

    /// Where the group is.
    pub fn committed(&self) -> &BTreeMap<PartitionId, Offset> {
        &self.committed
    }

    /// All positions expire; who reads reads on, who comes begins at the beginning.
    pub fn forget_positions(&mut self) {
        self.committed.clear();
    }
}
