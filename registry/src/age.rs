//! How a partition of the log grows old: its own time, its buckets, and what may be forgotten. Pure.
//!
//! ```text
//! log time ──▶ | dead, floors left | live ............................ | being written |
//!                                  ▲ dies when the log's time is `horizon` past its end
//!                                    and every source's mark has passed what was registered in it
//! ```
//!
//! No replica's clock and no event's time is asked (RULE 10): the time is the running maximum of the log's own append times.

use bytes::{Buf, BufMut};
use rtf_proto::control::{Checkpoint, Control, Settings, put_offsets, take_offsets};
use rtf_proto::{Offset, SourceId, TopicId};
use rtf_service::mutant;
use std::collections::BTreeMap;

/// A stretch of the log's time, named by its beginning, ms since 1970. Zero: before settings were heard.
pub type BucketId = i64;

/// The mark of a source that nobody reads any more.
const RETIRED: Offset = Offset::MAX;

/// What was registered within a bucket's time.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Bucket {
    /// Its beginning.
    pub id: BucketId,
    /// Ids registered in it.
    pub ids: u64,
    /// Per source one past the largest offset registered in it.
    pub tops: BTreeMap<SourceId, Offset>,
}

/// A partition's age. Equal in every replica that applied as much of the log.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Age {
    time_ms: i64,
    settings: Option<Settings>,
    marks: BTreeMap<SourceId, Offset>,
    floors: BTreeMap<SourceId, Offset>,
    /// Oldest first; the last one is being written.
    buckets: Vec<Bucket>,
}

impl Default for Age {
    fn default() -> Self {
        Self {
            time_ms: 0,
            settings: None,
            marks: BTreeMap::new(),
            floors: BTreeMap::new(),
            buckets: vec![Bucket::default()],
        }
    }
}

impl Age {
    /// A record with this append time is next. True when a new bucket begins with it.
    pub fn advance(&mut self, append_ms: i64) -> bool {
        self.time_ms = self.time_ms.max(append_ms);
        let Some(settings) = self.settings else {
            return false;
        };
        let span = i64::try_from(settings.span_ms).unwrap_or(i64::MAX);
        let begins = self.time_ms - self.time_ms.rem_euclid(span);
        if begins <= self.current() {
            return false;
        }
        self.begin(begins);
        true
    }

    /// The partition is split here: a new bucket begins, so that what was registered before does not change any more. It is named by the end of the
    /// present one's time, and not by this moment: so all partitions that are split within one bucket's time go on in the same new one, and
    /// none is forgotten earlier. Before settings are heard nothing is known of an end: then it is this moment.
    pub fn cut(&mut self) {
        let current = self.current();
        let end = self.settings.map_or(self.time_ms, |settings| {
            let span = i64::try_from(settings.span_ms).unwrap_or(i64::MAX);
            (current - current.rem_euclid(span)).saturating_add(span - 1)
        });
        self.begin(end.max(current + 1));
    }

    fn begin(&mut self, id: BucketId) {
        self.buckets.push(Bucket {
            id,
            ids: 0,
            tops: BTreeMap::new(),
        });
    }

    /// A winner came from there.
    pub fn registered(&mut self, source: SourceId, offset: Offset) {
        let bucket = self.buckets.last_mut().expect("one is being written");
        bucket.ids += 1;
        raise(&mut bucket.tops, source, offset + 1);
    }

    /// Whether a record of that place was resolved once, and may be forgotten.
    pub fn is_below_floor(&self, source: SourceId, offset: Offset) -> bool {
        let floor = self.floors.get(&source);
        floor.is_some_and(|floor| offset < *floor) && !mutant::is("floor-not-compared")
    }

    /// From here on these settings decide.
    pub fn settle(&mut self, settings: Settings) {
        self.settings = Some(settings);
    }

    /// These sources are done up to there.
    pub fn progressed(&mut self, marks: impl IntoIterator<Item = (SourceId, Offset)>) {
        marks
            .into_iter()
            .for_each(|(source, mark)| raise(&mut self.marks, source, mark));
        self.floors_follow();
    }

    /// Once there are floors they go up with the marks. A mark that came after its bucket had died would otherwise be none until the next one dies, and what
    /// was passed over meanwhile, because its other copy was remembered still, would be joined when it is read again.
    fn floors_follow(&mut self) {
        if !self.floors.is_empty() {
            self.raise_floors();
        }
    }

    fn raise_floors(&mut self) {
        for (source, mark) in self.marks.iter().filter(|(_, mark)| **mark != RETIRED) {
            raise(&mut self.floors, *source, *mark);
        }
    }

    /// Nobody reads this topic any more.
    pub fn retire(&mut self, topic: TopicId) {
        let sources: Vec<SourceId> = (self.buckets.iter())
            .flat_map(|bucket| bucket.tops.keys())
            .chain(self.marks.keys())
            .filter(|(id, _)| *id == topic)
            .copied()
            .collect();
        self.progressed(sources.into_iter().map(|source| (source, RETIRED)));
    }

    /// Takes in what the log says about itself.
    pub fn control(&mut self, control: &Control) {
        match control {
            Control::Settings(settings) => self.settle(*settings),
            Control::Progress(marks) => self.progressed(marks.iter().copied()),
            Control::Retire(topic) => self.retire(*topic),
            Control::Checkpoint(checkpoint) => self.learn(checkpoint),
            // They change whose ids are remembered, not how old they are.
            Control::Heartbeat
            | Control::Split { .. }
            | Control::Epoch { .. }
            | Control::Born { .. } => {}
        }
    }

    /// What a replica that lacks the beginning of the log could not know. For one that has it all this says nothing new.
    pub fn learn(&mut self, checkpoint: &Checkpoint) {
        self.time_ms = self.time_ms.max(checkpoint.time_ms);
        self.settings = self.settings.or(checkpoint.settings);
        self.progressed(checkpoint.marks.iter().copied());
        for (source, floor) in &checkpoint.floors {
            raise(&mut self.floors, *source, *floor);
        }
        self.floors_follow();
    }

    /// The buckets that are forgotten now, oldest first. They leave floors: the marks of all sources, since below a mark everything was resolved, and what
    /// is not remembered was forgotten. The offsets of what is forgotten would not do: an event that was sent twice may have its second record
    /// behind them, or in another partition.
    pub fn bury(&mut self) -> Vec<BucketId> {
        let mut dead = Vec::new();
        while self.oldest_is_dead() {
            let bucket = self.buckets.remove(0);
            for (source, top) in bucket.tops {
                raise(&mut self.floors, source, top);
            }
            dead.push(bucket.id);
        }
        if !dead.is_empty() {
            self.raise_floors();
        }
        dead
    }

    fn oldest_is_dead(&self) -> bool {
        let (Some(settings), [oldest, next, ..]) = (self.settings, self.buckets.as_slice()) else {
            return false;
        };
        let horizon = i64::try_from(settings.horizon_ms).unwrap_or(i64::MAX);
        let is_done = |(source, top): (&SourceId, &Offset)| {
            self.marks.get(source).is_some_and(|mark| mark >= top)
        };
        let all_done = oldest.tops.iter().all(is_done) || mutant::is("forgotten-without-marks");
        self.time_ms >= next.id.saturating_add(horizon) && all_done
    }

    /// The bucket that is being written.
    pub fn current(&self) -> BucketId {
        self.buckets.last().expect("one is being written").id
    }

    /// All that are remembered, oldest first.
    pub fn buckets(&self) -> &[Bucket] {
        &self.buckets
    }

    /// The log's running time, ms since 1970; zero before the first record.
    pub fn time_ms(&self) -> i64 {
        self.time_ms
    }

    /// What decides at present.
    pub fn settings(&self) -> Option<Settings> {
        self.settings
    }

    /// Sources with something registered beyond their mark, and what the mark must reach before it can be forgotten.
    pub fn awaited(&self) -> Vec<(SourceId, Offset)> {
        let mut tops = BTreeMap::new();
        for bucket in &self.buckets {
            for (source, top) in &bucket.tops {
                raise(&mut tops, *source, *top);
            }
        }
        tops.retain(|source, top| self.marks.get(source).is_none_or(|mark| mark < top));
        tops.into_iter().collect()
    }

    /// The state before `base`, for those who cannot read it from the log.
    pub fn checkpoint(&self, base: Offset, digest: (Offset, u64)) -> Checkpoint {
        Checkpoint {
            base,
            time_ms: self.time_ms,
            settings: self.settings,
            marks: self.marks.iter().map(|(s, o)| (*s, *o)).collect(),
            floors: self.floors.iter().map(|(s, o)| (*s, *o)).collect(),
            oldest_ms: self.oldest_ms(),
            digest,
            counts: Vec::new(),
            wanted: None,
        }
    }

    /// No remembered id was registered before this moment. A split names a bucket by its end, so that a span has to be taken off.
    fn oldest_ms(&self) -> Option<i64> {
        let oldest = self.buckets.iter().find(|bucket| bucket.ids > 0)?;
        let span = self.settings.map_or(0, |settings| settings.span_ms);
        let span = i64::try_from(span).unwrap_or(i64::MAX);
        Some(oldest.id.saturating_sub(span))
    }

    /// Appends its bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.checkpoint(0, (0, 0)).encode(out);
        out.put_u32_le(u32::try_from(self.buckets.len()).expect("buckets are few"));
        for bucket in &self.buckets {
            out.put_i64_le(bucket.id);
            out.put_u64_le(bucket.ids);
            let tops: Vec<_> = bucket.tops.iter().map(|(s, o)| (*s, *o)).collect();
            put_offsets(out, &tops);
        }
    }

    /// Takes what [`encode`](Self::encode) wrote from the front of `bytes`.
    pub fn take(bytes: &mut &[u8]) -> Option<Self> {
        let checkpoint = Checkpoint::take(bytes)?;
        let count = bytes.try_get_u32_le().ok()?;
        let buckets = (0..count).map(|_| {
            Some(Bucket {
                id: bytes.try_get_i64_le().ok()?,
                ids: bytes.try_get_u64_le().ok()?,
                tops: take_offsets(bytes)?.into_iter().collect(),
            })
        });
        let buckets: Vec<Bucket> = buckets.collect::<Option<_>>()?;
        (!buckets.is_empty()).then(|| Self {
            time_ms: checkpoint.time_ms,
            settings: checkpoint.settings,
            marks: checkpoint.marks.into_iter().collect(),
            floors: checkpoint.floors.into_iter().collect(),
            buckets,
        })
    }
}

fn raise(offsets: &mut BTreeMap<SourceId, Offset>, source: SourceId, offset: Offset) {
    let known = offsets.entry(source).or_default();
    *known = offset.max(*known);
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: Settings = Settings {
        horizon_ms: 1200,
        span_ms: 100,
    };
    const SOURCE: SourceId = (TopicId([7; 16]), 0);

    fn settled() -> Age {
        let mut age = Age::default();
        age.settle(SETTINGS);
        age
    }

    #[test]
    fn buckets_are_cut_by_the_logs_running_time() {
        let mut age = Age::default();
        assert!(
            !age.advance(5050),
            "nothing is cut before settings are heard"
        );
        age.settle(SETTINGS);
        assert!(age.advance(5060));
        assert!(!age.advance(5010));
        assert_eq!(age.time_ms(), 5060, "time never runs back");
        assert!(age.advance(5100));
        assert!(age.advance(9999));
        let ids: Vec<_> = age.buckets().iter().map(|bucket| bucket.id).collect();
        assert_eq!(ids, [0, 5000, 5100, 9900]);
    }

    /// Found by the simulation: what was registered before such a split was forgotten as soon as its marks had come.
    #[test]
    fn a_split_before_settings_are_heard_has_nothing_forgotten_earlier() {
        let mut age = Age::default();
        age.advance(5050);
        age.registered(SOURCE, 41);
        age.progressed([(SOURCE, 45)]);
        age.cut();
        age.settle(SETTINGS);
        age.advance(6249);
        assert!(age.bury().is_empty());
        age.advance(6250);
        assert_eq!(age.bury(), [0]);
    }

    #[test]
    fn a_bucket_dies_by_time_and_marks_together_and_leaves_a_floor() {
        let mut age = settled();
        age.advance(1000);
        age.registered(SOURCE, 41);
        age.advance(1100);
        age.advance(2299);
        age.progressed([(SOURCE, 45)]);
        assert_eq!(age.bury(), [0], "the horizon counts from a bucket's end");
        age.advance(2300);
        assert_eq!(age.bury(), [1000]);
        assert!(age.is_below_floor(SOURCE, 44) && !age.is_below_floor(SOURCE, 45));
        assert!(
            !age.is_below_floor((SOURCE.0, 1), 0),
            "another partition is another source"
        );
    }

    /// An event may stand in two partitions of its topic. Only one of its records won, and left a trace here.
    #[test]
    fn all_sources_get_their_floors_when_something_is_forgotten() {
        let other = (SOURCE.0, SOURCE.1 + 1);
        let mut age = settled();
        age.advance(1000);
        age.registered(SOURCE, 5);
        age.progressed([(SOURCE, 10), (other, 10)]);
        age.advance(1100);
        age.progressed([(other, 12)]);
        age.advance(2300);
        assert_eq!(age.bury(), [0, 1000]);
        assert!(age.is_below_floor(SOURCE, 9) && age.is_below_floor(other, 11));
        assert!(!age.is_below_floor(SOURCE, 10) && !age.is_below_floor(other, 12));
    }

    /// Found by the model of forgetting: an event stands there twice, the second copy was passed over while the first was remembered, and the mark
    /// that says so got into the log after the first was forgotten.
    #[test]
    fn a_mark_that_comes_after_its_bucket_has_died_is_a_floor_at_once() {
        let mut age = settled();
        age.advance(1000);
        age.registered(SOURCE, 0);
        age.progressed([(SOURCE, 1)]);
        age.advance(1100);
        age.advance(2300);
        assert_eq!(age.bury(), [0, 1000]);
        age.progressed([(SOURCE, 2)]);
        assert!(age.is_below_floor(SOURCE, 1) && !age.is_below_floor(SOURCE, 2));
        let mut late = settled();
        late.progressed([(SOURCE, 3)]);
        late.learn(&age.checkpoint(5, (0, 0)));
        assert!(late.is_below_floor(SOURCE, 2), "whoever learns late too");
    }

    /// Who begins in the middle of a log must know from when on.
    #[test]
    fn a_checkpoint_says_how_far_back_ids_are_remembered() {
        let mut age = settled();
        assert_eq!(age.checkpoint(0, (0, 0)).oldest_ms, None);
        age.advance(1000);
        age.registered(SOURCE, 5);
        age.advance(1150);
        age.registered(SOURCE, 6);
        let span = age.settings().unwrap().span_ms as i64;
        assert_eq!(age.checkpoint(0, (0, 0)).oldest_ms, Some(1000 - span));
    }

    #[test]
    fn a_source_that_lags_holds_its_bucket_until_it_is_retired() {
        let mut age = settled();
        age.advance(1000);
        age.registered(SOURCE, 41);
        age.progressed([(SOURCE, 41)]);
        age.advance(1100);
        age.advance(9000);
        assert_eq!((age.bury(), age.awaited()), (vec![0], vec![(SOURCE, 42)]));
        age.retire(SOURCE.0);
        assert_eq!((age.bury(), age.awaited()), (vec![1000], vec![]));
        assert!(age.is_below_floor(SOURCE, 41) && !age.is_below_floor(SOURCE, 42));
    }

    /// A replay announces its source from further up.
    #[test]
    fn a_mark_that_goes_back_changes_nothing() {
        let mut age = settled();
        age.advance(1000);
        age.registered(SOURCE, 41);
        age.progressed([(SOURCE, 45)]);
        let before = age.clone();
        age.progressed([(SOURCE, 3)]);
        assert_eq!(age, before);
        age.advance(1100);
        age.advance(2300);
        age.bury();
        assert!(
            age.is_below_floor(SOURCE, 44),
            "the floor is the highest mark"
        );
    }

    #[test]
    fn a_split_begins_a_bucket_and_forgets_nothing_earlier() {
        let ids = |age: &Age| age.buckets().iter().map(|b| b.id).collect::<Vec<_>>();
        let mut age = settled();
        age.advance(1010);
        age.cut();
        age.cut();
        assert_eq!(ids(&age), [0, 1000, 1099, 1100], "twice within one span");
        assert!(!age.advance(1100), "the span has its bucket already");
        assert!(age.advance(1200));
        age.advance(2298);
        assert_eq!(age.bury(), [0]);
        age.advance(2299);
        assert_eq!(age.bury(), [1000]);
        let mut unsettled = Age::default();
        unsettled.cut();
        assert_eq!(ids(&unsettled), [0, 1]);
    }

    #[test]
    fn a_checkpoint_tells_nothing_new_to_who_knows_all() {
        let mut age = settled();
        age.advance(1000);
        age.registered(SOURCE, 1);
        age.progressed([(SOURCE, 2)]);
        let checkpoint = age.checkpoint(5, (0, 0));
        let before = age.clone();
        age.learn(&checkpoint);
        assert_eq!(age, before);
        let mut bytes = Vec::new();
        age.encode(&mut bytes);
        assert_eq!(Age::take(&mut bytes.as_slice()), Some(before));
        for cut in 0..bytes.len() {
            assert_eq!(Age::take(&mut &bytes[..cut]), None);
        }
    }
}
