//! The partitions a replica follows, and where each id belongs. Grows when the log is split, never shrinks.

use crate::recent::Recent;
use crate::remembered::Remembered;
use parking_lot::RwLock;
use rtf_proto::partitioner::Layout;
use rtf_proto::{Offset, PartitionId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// One partition, as all threads of a replica see it.
pub struct Lane {
    pub partition: PartitionId,
    pub remembered: RwLock<Remembered>,
    pub recent: Recent,
    end: AtomicU64,
    /// It is followed for what it says about splits, and not served.
    is_aside: bool,
}

impl Lane {
    /// First offset not yet applied.
    pub fn applied(&self) -> Offset {
        self.recent.next()
    }

    pub fn heard_end(&self, end: Offset) {
        self.end.store(end, Ordering::Relaxed);
    }

    /// The log's end as last heard.
    pub fn end(&self) -> Offset {
        self.end.load(Ordering::Relaxed).max(self.applied())
    }
}

/// Where a registration is to be appended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Route {
    /// To this partition, in which this count holds.
    To(PartitionId, u32),
    /// To a partition that is not born yet: in a moment.
    Unborn,
}

/// The partitions of the log a replica serves, by the partition of the beginning that they came from; `None`: all.
pub type Serves = Option<BTreeSet<PartitionId>>;

struct Inner {
    layout: Layout,
    lanes: BTreeMap<PartitionId, Arc<Lane>>,
    /// They decide nothing yet.
    unborn: BTreeSet<PartitionId>,
}

/// All partitions of a replica.
pub struct Lanes {
    serves: Serves,
    inner: RwLock<Inner>,
}

impl Lanes {
    /// None yet, of a log that began with so many partitions.
    pub fn new(roots: u32, serves: Serves) -> Self {
        let inner = Inner {
            layout: Layout::new(roots),
            lanes: BTreeMap::new(),
            unborn: BTreeSet::new(),
        };
        Self {
            serves,
            inner: RwLock::new(inner),
        }
    }

    /// The partition of the beginning that a partition came from.
    fn root_of(&self, partition: PartitionId) -> PartitionId {
        partition % self.inner.read().layout.roots().max(1)
    }

    /// Whether this replica answers for a partition.
    pub fn serves(&self, partition: PartitionId) -> bool {
        let root = self.root_of(partition);
        let serves = self.serves.as_ref();
        serves.is_none_or(|served| served.contains(&root))
    }

    /// Whether it reads a partition: those it serves, and the family of partition 0, where the wish for a split stands.
    pub fn follows(&self, partition: PartitionId) -> bool {
        self.root_of(partition) == 0 || self.serves(partition)
    }

    /// Follows a partition from now on; `next` is the first offset it has not applied.
    pub fn add(&self, partition: PartitionId, remembered: Remembered, next: Offset) -> Arc<Lane> {
        let is_aside = !self.serves(partition);
        let mut inner = self.inner.write();
        let lane = Arc::new(Lane {
            partition,
            recent: Recent::new(next, inner.layout.partitions() as usize),
            remembered: RwLock::new(remembered),
            end: AtomicU64::new(0),
            is_aside,
        });
        inner.lanes.insert(partition, lane.clone());
        inner.learn(&lane);
        lane
    }

    /// A partition was split, or is born.
    pub fn changed(&self, lane: &Lane) {
        self.inner.write().learn(lane);
    }

    /// A partition this replica follows.
    pub fn get(&self, partition: PartitionId) -> Option<Arc<Lane>> {
        self.inner.read().lanes.get(&partition).cloned()
    }

    /// A partition this replica answers for.
    pub fn served(&self, partition: PartitionId) -> Option<Arc<Lane>> {
        self.get(partition).filter(|lane| !lane.is_aside)
    }

    /// All it follows, in order.
    pub fn all(&self) -> Vec<Arc<Lane>> {
        self.inner.read().lanes.values().cloned().collect()
    }

    /// All it answers for, in order.
    pub fn all_served(&self) -> Vec<Arc<Lane>> {
        let mut all = self.all();
        all.retain(|lane| !lane.is_aside);
        all
    }

    /// The partitions ids belong to, where this replica answers for them.
    pub fn of<'a>(
        &self,
        ids: impl Iterator<Item = &'a [u8]>,
    ) -> Vec<Result<Arc<Lane>, PartitionId>> {
        let inner = self.inner.read();
        ids.map(|id| {
            let partition = inner.layout.partition_of(id);
            let lane = inner.lanes.get(&partition).filter(|lane| !lane.is_aside);
            lane.cloned().ok_or(partition)
        })
        .collect()
    }

    /// Where a registration of this id is to be appended.
    pub fn route(&self, id: &[u8]) -> Route {
        let inner = self.inner.read();
        let partition = inner.layout.partition_of(id);
        if inner.unborn.contains(&partition) {
            return Route::Unborn;
        }
        Route::To(partition, inner.count(partition))
    }

    /// The count that holds in a partition.
    pub fn count(&self, partition: PartitionId) -> u32 {
        self.inner.read().count(partition)
    }

    /// Where ids belong.
    pub fn layout(&self) -> Layout {
        self.inner.read().layout.clone()
    }

    /// Partitions there are, as far as is known.
    pub fn partitions(&self) -> u32 {
        self.inner.read().layout.partitions()
    }
}

impl Inner {
    fn learn(&mut self, lane: &Lane) {
        let remembered = lane.remembered.read();
        let lineage = &remembered.lineage;
        self.layout.set(lane.partition, lineage.count());
        if lineage.unborn().is_some() {
            self.unborn.insert(lane.partition);
        } else {
            self.unborn.remove(&lane.partition);
        }
    }

    fn count(&self, partition: PartitionId) -> u32 {
        let count = self.layout.count(partition);
        count.unwrap_or(self.layout.roots())
    }
}
