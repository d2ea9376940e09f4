//! Which events are traced, and as which trace. Pure: the same in every process, for ever.

use opentelemetry::{SpanId, TraceId};
use siphasher::sip128::{Hasher128, SipHasher24};
use std::hash::Hasher;

/// The part of a trace's id by which OpenTelemetry's samplers decide, its last bits: whoever samples further, a collector say, keeps of our traces what it
/// would keep of others.
const RANDOM_BITS: u32 = 56;

/// Decides by an event's id.
#[derive(Clone, Debug)]
pub struct Sampler {
    /// Has taken in the pipeline's name: events of two pipelines may have the same id.
    named: SipHasher24,
    /// Those are traced whose random bits are not less than this.
    least: u64,
}

impl Sampler {
    /// Traces this `share` of a pipeline's events, 0 to 1.
    pub fn new(pipeline: &str, share: f64) -> Self {
        let mut named = SipHasher24::new();
        named.write(pipeline.as_bytes());
        named.write(&[0]);
        let all = (1u64 << RANDOM_BITS) as f64;
        Self {
            named,
            least: ((1.0 - share) * all) as u64,
        }
    }

    /// The event's trace, if it is traced.
    pub fn trace(&self, id: &[u8]) -> Option<TraceId> {
        let mut hasher = self.named;
        hasher.write(id);
        let hash = u128::from(hasher.finish128());
        let random = hash as u64 & ((1 << RANDOM_BITS) - 1);
        // 0 stands for "no trace".
        (random >= self.least).then(|| TraceId::from_bytes(hash.max(1).to_be_bytes()))
    }
}

/// The span that all others of a trace are children of.
pub(crate) fn root(trace: TraceId) -> SpanId {
    let [high @ .., _, _, _, _, _, _, _, _] = trace.to_bytes();
    // 0 stands for "no span".
    SpanId::from_bytes(u64::from_be_bytes(high).max(1).to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Processes of different versions meet in one trace only if this stays as it is.
    #[test]
    fn a_trace_is_the_same_in_every_version() {
        let trace = Sampler::new("clicks", 1.0).trace(b"click-1").unwrap();
        assert_eq!(trace.to_string(), "26b9b24e496cf2c9e04e9921d0203c3d");
        assert_eq!(root(trace).to_string(), "26b9b24e496cf2c9");
    }

    #[test]
    fn pipelines_are_apart() {
        let trace = |pipeline, id: &str| Sampler::new(pipeline, 1.0).trace(id.as_bytes());
        assert_ne!(trace("a", "1"), trace("b", "1"));
        assert_ne!(trace("a", "b1"), trace("ab", "1"));
    }

    #[test]
    fn about_the_share_is_traced() {
        let traced = |share| {
            let sampler = Sampler::new("clicks", share);
            let ids = (0..100_000).map(|n| format!("click-{n}"));
            ids.filter(|id| sampler.trace(id.as_bytes()).is_some())
                .count()
        };
        assert_eq!((traced(0.0), traced(1.0)), (0, 100_000));
        assert!((900..1100).contains(&traced(0.01)), "{}", traced(0.01));
    }

    proptest! {
        /// So it may be raised in one role after the other: whoever traces less still finds its spans among the others'.
        #[test]
        fn what_a_smaller_share_traces_a_larger_one_does_too(id: Vec<u8>, small in 0.0..=1.0, large in 0.0..=1.0) {
            let trace = |share| Sampler::new("clicks", share).trace(&id);
            if small <= large && let Some(found) = trace(small) {
                prop_assert_eq!(trace(large), Some(found));
            }
        }
    }
}
