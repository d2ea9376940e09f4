//! What is written: a flush of what memory held, or a merge of segments. One at a time, on a thread of its own; it changes nothing that
//! others look into, its result does.

use super::manifest::{Listed, Manifest};
use super::segment::Cursor;
use super::writer::Writer;
use super::{Age, Directory, DiskError, EXPIRY_SPAN_MS, Segment};
use crate::Policy;
use crate::event::{Block, Event};
use crate::store::EventStore;
use roaring::RoaringBitmap;
use std::cmp::Ordering;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// An event that did not come along.
const NOWHERE: u32 = u32::MAX;

/// One piece of work. `manifest` is the one that counts when it is done, but for the new segment.
pub(crate) enum Job {
    /// Memory becomes a segment.
    Flush {
        events: Arc<EventStore>,
        manifest: Manifest,
        number: u64,
        age: Age,
    },
    /// Segments become one; what was gone when the last flush was made stays behind.
    Merge {
        inputs: Vec<(Arc<Segment>, RoaringBitmap)>,
        manifest: Manifest,
        number: u64,
        age: Age,
    },
}

/// Where the events of one source went.
pub(crate) struct Moved(Vec<u32>);

impl Moved {
    fn to(&mut self, from: u32, number: u32) {
        let at = from as usize;
        if self.0.len() <= at {
            self.0.resize(at + 1, NOWHERE);
        }
        self.0[at] = number;
    }

    /// An event's number in the new segment, if it is there.
    pub fn number(&self, from: u32) -> Option<u32> {
        self.0
            .get(from as usize)
            .copied()
            .filter(|number| *number != NOWHERE)
    }
}

/// A flush that counts.
pub(crate) struct Flushed {
    pub segment: Option<Arc<Segment>>,
    pub moved: Moved,
    pub manifest: Manifest,
}

/// A merge that counts.
pub(crate) struct Merged {
    pub inputs: Vec<(Arc<Segment>, RoaringBitmap)>,
    /// One per input.
    pub moved: Vec<Moved>,
    pub segment: Option<Arc<Segment>>,
    pub manifest: Manifest,
}

/// What came of a job.
pub(crate) enum Done {
    Flushed(Flushed),
    Merged(Merged),
}

/// How events are ordered and hashed; the same for the life of a store.
struct Context {
    directory: Arc<Directory>,
    policy: Policy,
}

impl Context {
    fn run(&self, job: Job) -> Result<Done, DiskError> {
        match job {
            Job::Flush {
                events,
                manifest,
                number,
                age,
            } => self
                .flush(&events, manifest, number, &age)
                .map(Done::Flushed),
            Job::Merge {
                inputs,
                manifest,
                number,
                age,
            } => self.merge(inputs, manifest, number, &age).map(Done::Merged),
        }
    }

    fn flush(
        &self,
        events: &EventStore,
        manifest: Manifest,
        number: u64,
        age: &Age,
    ) -> Result<Flushed, DiskError> {
        let seed = manifest.seed;
        let live = events
            .iter()
            .filter(|(_, event)| forget(event, age).is_none());
        let mut sorted: Vec<(u64, u32, &Event)> = live
            .map(|(from, event)| (seed.hash(event.key()), from, event))
            .collect();
        sorted.sort_unstable_by(|a, b| (a.0.cmp(&b.0)).then_with(|| self.order(a.2, b.2)));
        let mut moved = Moved(Vec::new());
        let mut writer = Writer::create(&self.directory.segment(number))?;
        for (hash, from, event) in &sorted {
            let id = event.id().map(|id| seed.hash(id));
            moved.to(*from, writer.push(*hash, id, event)?);
        }
        let (segment, manifest) = self.finish(writer, manifest, number, sorted.len())?;
        Ok(Flushed {
            segment,
            moved,
            manifest,
        })
    }

    fn merge(
        &self,
        inputs: Vec<(Arc<Segment>, RoaringBitmap)>,
        manifest: Manifest,
        number: u64,
        age: &Age,
    ) -> Result<Merged, DiskError> {
        let seed = manifest.seed;
        let mut moved: Vec<Moved> = inputs.iter().map(|_| Moved(Vec::new())).collect();
        let mut writer = Writer::create(&self.directory.segment(number))?;
        let sources = inputs.iter().map(|(segment, _)| Cursor::new(segment));
        let mut sources = sources.collect::<Result<Vec<_>, _>>()?;
        let mut events = 0;
        while let Some(at) = self.next(&sources)? {
            if let Some(entry) = sources[at].entry()?
                && !inputs[at].1.contains(entry.number)
            {
                match forget(&entry.event, age) {
                    Some(reason) => {
                        metrics::counter!("rtf_joiner_forgotten_total", "reason" => reason)
                            .increment(1);
                    }
                    None => {
                        let id = entry.event.id().map(|id| seed.hash(id));
                        let number = writer.push(entry.key_hash, id, &entry.event)?;
                        moved[at].to(entry.number, number);
                        events += 1;
                    }
                }
            }
            sources[at].advance()?;
        }
        drop(sources);
        let (segment, manifest) = self.finish(writer, manifest, number, events)?;
        Ok(Merged {
            inputs,
            moved,
            segment,
            manifest,
        })
    }

    /// Which of the sources looks at the event that comes first; `None` when all are at their ends.
    fn next(&self, sources: &[Cursor<'_>]) -> Result<Option<usize>, DiskError> {
        let mut first: Option<(u64, usize)> = None;
        for (at, source) in sources.iter().enumerate() {
            let Some(hash) = source.key_hash() else {
                continue;
            };
            let comes_first = match first {
                None => true,
                Some((other, _)) if hash != other => hash < other,
                Some((_, other)) => match (source.entry()?, sources[other].entry()?) {
                    (Some(a), Some(b)) => self.order(&a.event, &b.event) == Ordering::Less,
                    (a, _) => a.is_some(),
                },
            };
            if comes_first {
                first = Some((hash, at));
            }
        }
        Ok(first.map(|(_, at)| at))
    }

    /// A segment without events is none.
    fn finish(
        &self,
        writer: Writer,
        mut manifest: Manifest,
        number: u64,
        events: usize,
    ) -> Result<(Option<Arc<Segment>>, Manifest), DiskError> {
        let mut segment = None;
        match events {
            0 => {
                drop(writer);
                self.directory.remove(number);
            }
            _ => {
                segment = Some(Arc::new(writer.finish()?));
                manifest.segments.push(Listed {
                    number,
                    gone: RoaringBitmap::new(),
                });
            }
        }
        self.directory.commit(&manifest)?;
        Ok((segment, manifest))
    }

    fn order<B: Block>(&self, a: &Event<B>, b: &Event<B>) -> Ordering {
        self.policy.compare(&a.candidate(), &b.candidate())
    }
}

/// Why an event is not written again.
fn forget<B: Block>(event: &Event<B>, age: &Age) -> Option<&'static str> {
    let place = event.place();
    if is_past(event, age.now_ms) {
        Some("expired")
    } else if age.has_left(place.partition, place.offset) {
        Some("retention")
    } else {
        None
    }
}

/// Whether the minute in which an event expires is over: then it is as if it had never been.
pub(crate) fn is_past<B: Block>(event: &Event<B>, now_ms: i64) -> bool {
    let minute = |ms: i64| ms.div_euclid(EXPIRY_SPAN_MS);
    event
        .expires()
        .is_some_and(|at| minute(at) < minute(now_ms))
}

/// The thread that does the jobs. Dropped, it ends after the one it is at, and is waited for: until then the directory is not to be opened again.
pub(crate) struct Worker {
    /// `None` when it is to end.
    jobs: Option<SyncSender<Job>>,
    done: Receiver<Result<Done, DiskError>>,
    is_busy: bool,
    /// `None` when it was waited for.
    thread: Option<JoinHandle<()>>,
    /// Who does the jobs where there is no thread.
    #[cfg(feature = "simulation")]
    simulated: Option<Simulated>,
}

/// Does a job when it is waited for: until then it is under way.
#[cfg(feature = "simulation")]
struct Simulated {
    context: Context,
    job: Option<Job>,
}

/// How a worker comes into being.
pub(crate) type StartWorker = fn(Arc<Directory>, Policy) -> std::io::Result<Worker>;

impl Worker {
    pub fn start(directory: Arc<Directory>, policy: Policy) -> std::io::Result<Self> {
        let (jobs, orders) = sync_channel::<Job>(1);
        let (answers, done) = sync_channel(1);
        let context = Context { directory, policy };
        let thread = std::thread::Builder::new()
            .name("event store writer".into())
            .spawn(move || {
                for job in orders {
                    if answers.send(context.run(job)).is_err() {
                        return;
                    }
                }
            })?;
        Ok(Self {
            jobs: Some(jobs),
            done,
            is_busy: false,
            thread: Some(thread),
            #[cfg(feature = "simulation")]
            simulated: None,
        })
    }

    /// The same without a thread.
    #[cfg(feature = "simulation")]
    pub fn simulated(directory: Arc<Directory>, policy: Policy) -> std::io::Result<Self> {
        let context = Context { directory, policy };
        Ok(Self {
            jobs: None,
            // Nothing ever comes from it.
            done: sync_channel(1).1,
            is_busy: false,
            thread: None,
            simulated: Some(Simulated { context, job: None }),
        })
    }

    pub fn is_busy(&self) -> bool {
        self.is_busy
    }

    /// Begins a job; there is none under way.
    pub fn begin(&mut self, job: Job) {
        assert!(!self.is_busy, "one job at a time");
        self.is_busy = true;
        #[cfg(feature = "simulation")]
        if let Some(simulated) = &mut self.simulated {
            simulated.job = Some(job);
            return;
        }
        if let Some(jobs) = &self.jobs {
            // A worker that is gone is told of by `wait`.
            jobs.send(job).ok();
        }
    }

    /// What came of the job, if it ends within this time. `None` too when there is none under way.
    ///
    /// # Errors
    /// The disk's, or the thread panicked: then its words are in the log.
    pub fn wait(&mut self, within: Duration) -> Result<Option<Done>, Option<DiskError>> {
        if !self.is_busy {
            return Ok(None);
        }
        #[cfg(feature = "simulation")]
        if let Some(Simulated { context, job }) = &mut self.simulated
            && let Some(job) = job.take()
        {
            self.is_busy = false;
            return context.run(job).map(Some).map_err(Some);
        }
        match self.done.recv_timeout(within) {
            Ok(done) => {
                self.is_busy = false;
                done.map(Some).map_err(Some)
            }
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(None),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // Whether it panicked is of no interest any more.
            let _ = thread.join();
        }
    }
}
