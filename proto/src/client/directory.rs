//! Who serves which partition of the join log, as far as the registries have said. Pure: it knows no call and no clock.

use crate::partitioner::Layout;
use crate::{PartitionId, RegistryError, RegistryStatus};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// Endpoints that serve the same partitions, by their places in the list.
pub type Group = Vec<usize>;

/// What a registry said of the partitions it serves.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Served {
    /// Partitions the log began with, as far as this registry knows.
    roots: u32,
    /// The count that holds in each partition it serves; 0 while that is not born.
    counts: BTreeMap<PartitionId, u32>,
}

impl Served {
    fn of(status: &RegistryStatus) -> Self {
        let served = status.served.iter();
        Self {
            roots: status.roots.max(1),
            counts: served.map(|p| (p.partition, p.count)).collect(),
        }
    }

    /// Whether it answers for a partition. What is split from one that it serves, it serves too, though it may not have heard of it yet.
    fn has(&self, partition: PartitionId) -> bool {
        self.counts.contains_key(&(partition % self.roots))
    }

    fn has_all(&self) -> bool {
        (0..self.roots).all(|root| self.has(root))
    }

    /// Those of the beginning, as the configuration names them.
    fn roots(&self) -> BTreeSet<PartitionId> {
        (0..self.roots).filter(|root| self.has(*root)).collect()
    }
}

/// The last word of one endpoint.
#[derive(Clone, Debug)]
struct Entry {
    url: String,
    /// Why it has never answered, or what it said when it last did.
    said: Result<Served, String>,
}

/// What all registries together say of the log.
#[derive(Clone, Debug)]
pub struct Directory {
    entries: Vec<Entry>,
    layout: Layout,
    /// The different sets of endpoints that serve a partition. An empty one: nobody does.
    groups: Vec<Group>,
    /// Which of them, by partition.
    group_of: Vec<usize>,
}

impl Directory {
    /// Of these endpoints, which have not said anything.
    pub fn new(urls: impl IntoIterator<Item = String>) -> Self {
        let said = Err("not asked yet".to_owned());
        let entry = |url| Entry {
            url,
            said: said.clone(),
        };
        Self {
            entries: urls.into_iter().map(entry).collect(),
            layout: Layout::default(),
            groups: Vec::new(),
            group_of: Vec::new(),
        }
    }

    /// An endpoint says how it is. False when that is nothing new.
    pub fn heard(&mut self, at: usize, status: &RegistryStatus) -> bool {
        let said = Ok(Served::of(status));
        if self.entries[at].said == said {
            return false;
        }
        self.entries[at].said = said;
        self.compose();
        true
    }

    /// An endpoint does not answer. What it said last holds on: its partitions are still its own. False when that is nothing new.
    pub fn silent(&mut self, at: usize, words: &str) -> bool {
        let said = &mut self.entries[at].said;
        let is_news = said.as_ref().is_err_and(|before| before != words);
        if is_news {
            *said = Err(words.into());
        }
        is_news
    }

    /// Where ids belong: of what was heard, the smallest beginning and the largest counts.
    fn compose(&mut self) {
        let served = || self.entries.iter().flat_map(|entry| &entry.said);
        let mut layout = Layout::new(served().map(|served| served.roots).min().unwrap_or(0));
        for (partition, count) in served().flat_map(|served| &served.counts) {
            if *count > layout.count(*partition).unwrap_or(0) {
                layout.set(*partition, *count);
            }
        }
        let mut groups: Vec<Group> = Vec::new();
        let group_of = (0..layout.partitions()).map(|partition| {
            let group = self.serving(partition);
            groups
                .iter()
                .position(|known| *known == group)
                .unwrap_or_else(|| {
                    groups.push(group);
                    groups.len() - 1
                })
        });
        self.group_of = group_of.collect();
        self.groups = groups;
        self.layout = layout;
    }

    fn serving(&self, partition: PartitionId) -> Group {
        let all = 0..self.entries.len();
        all.filter(|at| self.serves(*at, partition)).collect()
    }

    /// Whether this endpoint is known to serve a partition.
    pub fn serves(&self, at: usize, partition: PartitionId) -> bool {
        let said = self.entries[at].said.as_ref();
        said.is_ok_and(|served| served.has(partition))
    }

    /// Whether this endpoint serves only some partitions.
    pub fn is_partial(&self, at: usize) -> bool {
        let said = self.entries[at].said.as_ref();
        said.is_ok_and(|served| !served.has_all())
    }

    /// The partitions of the log's beginning that this endpoint serves; none of one that never answered.
    pub fn roots_of(&self, at: usize) -> BTreeSet<PartitionId> {
        let said = self.entries[at].said.as_ref();
        said.map_or_else(|_| BTreeSet::new(), Served::roots)
    }

    /// Where ids belong.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The partitions of the log's beginning: whoever serves one of them serves what is split from it.
    pub fn roots(&self) -> std::ops::Range<PartitionId> {
        0..self.layout.roots()
    }

    /// Those who serve all partitions, if all who serve any serve the same.
    pub fn only_group(&self) -> Option<&Group> {
        match self.groups.as_slice() {
            [group] if !group.is_empty() => Some(group),
            _ => None,
        }
    }

    /// Whether somebody has answered, and every partition is served.
    pub fn is_complete(&self) -> bool {
        !self.groups.is_empty() && self.groups.iter().all(|group| !group.is_empty())
    }

    /// Those who serve a partition.
    ///
    /// # Errors
    /// Nobody is known to; says who serves what.
    pub fn who(&self, partition: PartitionId) -> Result<Group, RegistryError> {
        let group = match self.group_of.get(partition as usize) {
            Some(group) => self.groups[*group].clone(),
            // It was split off, and none of these has heard of it.
            None => self.serving(partition),
        };
        if group.is_empty() {
            return Err(self.nobody(&BTreeSet::from([partition])));
        }
        Ok(group)
    }

    /// The partition an id belongs to.
    pub fn partition_of(&self, id: &[u8]) -> PartitionId {
        self.layout.partition_of(id)
    }

    /// Which questions go to whom: for each set of endpoints one of the partitions, and the places of the ids.
    pub fn split<'a>(&self, ids: impl Iterator<Item = &'a [u8]>) -> Vec<(PartitionId, Vec<usize>)> {
        let mut parts: BTreeMap<usize, (PartitionId, Vec<usize>)> = BTreeMap::new();
        for (place, id) in ids.enumerate() {
            let partition = self.partition_of(id);
            let group = self.group_of.get(partition as usize).copied();
            let part = parts.entry(group.unwrap_or(usize::MAX));
            part.or_insert((partition, Vec::new())).1.push(place);
        }
        parts.into_values().collect()
    }

    /// Partitions of the log's beginning that nobody is known to serve.
    pub fn unserved(&self) -> BTreeSet<PartitionId> {
        let partitions = (0..).zip(&self.group_of);
        let unserved = partitions.filter(|(_, group)| self.groups[**group].is_empty());
        let roots = self.layout.roots().max(1);
        unserved.map(|(partition, _)| partition % roots).collect()
    }

    /// Whether every partition is served by somebody.
    ///
    /// # Errors
    /// It is not, or nobody has answered yet; says who serves what.
    pub fn check(&self) -> Result<(), RegistryError> {
        if self.is_complete() {
            return Ok(());
        }
        Err(self.nobody(&self.unserved()))
    }

    fn nobody(&self, partitions: &BTreeSet<PartitionId>) -> RegistryError {
        let (said, silent): (Vec<_>, Vec<_>) =
            (0..self.entries.len()).partition(|at| self.entries[*at].said.is_ok());
        let all = said.iter().chain(&silent).map(|at| self.said(*at));
        let all = all.collect::<Vec<_>>().join(", ");
        let noun = if partitions.len() == 1 {
            "partition"
        } else {
            "partitions"
        };
        let partitions = ranges(partitions);
        RegistryError::Unavailable(if said.is_empty() {
            format!("no registry has answered yet; {all}")
        } else if silent.is_empty() {
            format!(
                "no registry serves {noun} {partitions} of the join log; {all}: set [registry].serves"
            )
        } else {
            format!(
                "no registry is known to serve {noun} {partitions} of the join log; {all}, and may serve what is missing"
            )
        })
    }

    fn said(&self, at: usize) -> String {
        let Entry { url, said } = &self.entries[at];
        match said {
            Err(words) => format!("{url} has never answered ({words})"),
            Ok(served) if served.has_all() => format!("{url} serves all"),
            Ok(served) if served.counts.is_empty() => format!("{url} serves none"),
            Ok(served) => format!("{url} serves {}", ranges(&served.roots())),
        }
    }
}

/// Partitions as the configuration writes them: `0-3,6`.
pub fn ranges(partitions: &BTreeSet<PartitionId>) -> String {
    let mut text = String::new();
    let mut rest = partitions.iter().copied().peekable();
    while let Some(first) = rest.next() {
        let mut last = first;
        while let Some(next) = rest.next_if(|next| *next == last + 1) {
            last = next;
        }
        let comma = if text.is_empty() { "" } else { "," };
        // A text takes everything.
        let _ = match last {
            _ if last == first => write!(text, "{comma}{first}"),
            _ => write!(text, "{comma}{first}-{last}"),
        };
    }
    text
}

/// What several registries say, as if they were one that serves all they serve. `None` of nobody.
pub fn merged(statuses: Vec<RegistryStatus>) -> Option<RegistryStatus> {
    let mut directory = Directory::new(statuses.iter().map(|_| String::new()));
    for (at, status) in statuses.iter().enumerate() {
        directory.heard(at, status);
    }
    let everywhere = |is_well: fn(&RegistryStatus) -> bool| {
        let by_such = |root| {
            let mut all = statuses.iter().enumerate();
            all.any(|(at, status)| is_well(status) && directory.serves(at, root))
        };
        directory.roots().all(by_such)
    };
    let (ready, taken) = (everywhere(|s| s.ready), everywhere(|s| !s.paused));
    let partitions = statuses.iter().map(|status| status.partitions).max()?;
    let mut served = BTreeMap::new();
    for partition in statuses.iter().flat_map(|status| &status.served) {
        let best = served.entry(partition.partition).or_insert(partition);
        if partition.applied > best.applied {
            *best = partition;
        }
    }
    Some(RegistryStatus {
        log: statuses.first()?.log,
        partitions: partitions.max(directory.layout.partitions()),
        roots: directory.layout.roots(),
        incarnation: statuses.first()?.incarnation,
        ready,
        paused: !taken,
        disk_bytes: statuses.iter().map(|status| status.disk_bytes).sum(),
        served: served.into_values().cloned().collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RegistryPartition;

    const ALL: [PartitionId; 4] = [0, 1, 2, 3];

    /// A registry of a log that began with four partitions; of what it serves with the count that holds there.
    fn status(served: &[(PartitionId, u32)]) -> RegistryStatus {
        let partition = |(partition, count): &(PartitionId, u32)| RegistryPartition {
            partition: *partition,
            count: *count,
            ..Default::default()
        };
        RegistryStatus {
            roots: 4,
            partitions: served.iter().map(|p| p.1).max().unwrap_or(4),
            ready: true,
            served: served.iter().map(partition).collect(),
            ..Default::default()
        }
    }

    fn unsplit(served: &[PartitionId]) -> RegistryStatus {
        status(&served.iter().map(|p| (*p, 4)).collect::<Vec<_>>())
    }

    fn directory(statuses: &[Option<RegistryStatus>]) -> Directory {
        let urls = ["http://a", "http://b", "http://c"].map(str::to_owned);
        let mut directory = Directory::new(urls.into_iter().take(statuses.len()));
        for (at, status) in statuses.iter().enumerate() {
            if let Some(status) = status {
                directory.heard(at, status);
            }
        }
        directory
    }

    fn ids() -> Vec<String> {
        (0..200).map(|n| format!("click-{n}")).collect()
    }

    fn words(result: Result<(), RegistryError>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn registries_that_serve_everything_are_one_group() {
        let directory = directory(&[Some(unsplit(&ALL)), None, Some(unsplit(&ALL))]);
        assert_eq!(directory.only_group(), Some(&vec![0, 2]));
        assert!(directory.is_complete() && directory.check().is_ok());
        assert_eq!(directory.who(3).unwrap(), [0, 2]);
    }

    #[test]
    fn ids_go_to_those_who_serve_them() {
        let parts = [unsplit(&[0, 1]), unsplit(&[2, 3]), unsplit(&[1])];
        let directory = directory(&parts.map(Some));
        assert_eq!(directory.only_group(), None);
        assert!(directory.is_complete());
        let ids = ids();
        let parts = directory.split(ids.iter().map(String::as_bytes));
        let groups: BTreeSet<Group> = (parts.iter())
            .map(|(partition, _)| directory.who(*partition).unwrap())
            .collect();
        assert_eq!(
            groups,
            BTreeSet::from([vec![0], vec![0, 2], vec![1]]),
            "one part for each"
        );
        assert_eq!(parts.len(), groups.len());
        let mut places: Vec<usize> = Vec::new();
        for (partition, part) in &parts {
            let group = directory.who(*partition).unwrap();
            for place in part {
                let own = directory.partition_of(ids[*place].as_bytes());
                assert_eq!(directory.who(own).unwrap(), group);
            }
            places.extend(part);
        }
        places.sort_unstable();
        assert_eq!(places, (0..ids.len()).collect::<Vec<_>>());
    }

    #[test]
    fn after_a_split_the_largest_counts_hold_and_families_stay_together() {
        // The second one has not applied the split yet.
        let ahead = status(&[(0, 8), (1, 8), (4, 8), (5, 0)]);
        let behind = unsplit(&[0, 1]);
        let others = status(&[(2, 8), (3, 4), (6, 8)]);
        let directory = directory(&[Some(behind), Some(ahead), Some(others)]);
        assert_eq!(directory.layout().roots(), 4);
        assert_eq!(directory.layout().partitions(), 8);
        assert_eq!(directory.layout().count(0), Some(8));
        assert_eq!(directory.layout().count(5), None, "not born");
        assert_eq!(directory.who(4).unwrap(), [0, 1], "whose parent it serves");
        assert_eq!(directory.who(6).unwrap(), [2]);
        assert_eq!(directory.who(7).unwrap(), [2]);
        assert_eq!(directory.who(13).unwrap(), [0, 1], "nobody heard of it yet");
        assert!(directory.is_complete());
    }

    #[test]
    fn one_that_lacks_the_logs_beginning_counts_from_what_it_found() {
        let mut late = status(&[(0, 8), (1, 8), (2, 8), (3, 8)]);
        late.roots = 8;
        let directory = directory(&[Some(late), Some(unsplit(&[0, 1]))]);
        assert_eq!(directory.layout().roots(), 4);
        assert_eq!(directory.who(0).unwrap(), [0, 1]);
        assert_eq!(directory.who(4).unwrap(), [1], "the first serves up to 3");
        assert_eq!(directory.unserved(), BTreeSet::from([2, 3]));
    }

    #[test]
    fn what_nobody_serves_is_said() {
        let mut directory = directory(&[None, None]);
        directory.silent(0, "refused");
        assert_eq!(
            words(directory.check()),
            "registry unavailable: no registry has answered yet; http://a has never answered (refused), \
             http://b has never answered (not asked yet)"
        );
        directory.heard(1, &unsplit(&[0, 1, 3]));
        assert_eq!(
            words(directory.check()),
            "registry unavailable: no registry is known to serve partition 2 of the join log; http://b serves 0-1,3, \
             http://a has never answered (refused), and may serve what is missing"
        );
        directory.heard(0, &unsplit(&[0]));
        assert_eq!(
            words(directory.who(2).map(drop)),
            "registry unavailable: no registry serves partition 2 of the join log; http://a serves 0, \
             http://b serves 0-1,3: set [registry].serves"
        );
        assert!(directory.who(3).is_ok());
        directory.heard(0, &unsplit(&[2]));
        assert!(directory.check().is_ok());
    }

    #[test]
    fn who_falls_silent_keeps_what_it_said() {
        let mut directory = directory(&[Some(unsplit(&[0, 1])), Some(unsplit(&[2, 3]))]);
        assert!(!directory.silent(1, "frozen"));
        assert!(directory.check().is_ok());
        assert!(!directory.heard(0, &unsplit(&[0, 1])), "nothing new");
        assert!(directory.heard(0, &unsplit(&[0])));
        assert_eq!(directory.unserved(), BTreeSet::from([1]));
    }

    #[test]
    fn partitions_are_written_as_in_the_configuration() {
        let text = |partitions: &[PartitionId]| ranges(&partitions.iter().copied().collect());
        assert_eq!(text(&[]), "");
        assert_eq!(text(&[5]), "5");
        assert_eq!(text(&[0, 1, 2, 3, 6, 8, 9]), "0-3,6,8-9");
    }

    #[test]
    fn several_are_as_ready_as_the_best_of_each_partition() {
        let mut parts = [unsplit(&[0, 1]), unsplit(&[2, 3]), unsplit(&[0, 1])];
        parts[0].served[0].applied = 7;
        parts[2].served[0].applied = 9;
        parts[2].ready = false;
        parts[0].disk_bytes = 1;
        parts[1].disk_bytes = 2;
        let one = merged(parts.to_vec()).unwrap();
        assert!(one.ready && !one.paused);
        assert_eq!((one.roots, one.partitions, one.disk_bytes), (4, 4, 3));
        let applied: Vec<_> = one.served.iter().map(|p| p.applied).collect();
        assert_eq!(applied, [9, 0, 0, 0]);
        parts[1].paused = true;
        assert!(
            merged(parts.to_vec()).unwrap().paused,
            "of 2 and 3 nobody takes any"
        );
        parts[0].ready = false;
        assert!(!merged(parts.to_vec()).unwrap().ready);
        assert!(
            !merged(parts[1..2].to_vec()).unwrap().ready,
            "0 and 1 are missing"
        );
        assert_eq!(merged(Vec::new()), None);
    }
}
