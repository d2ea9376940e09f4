//! What comes next for a record, given an answer. Pure; [`crate::carry`] makes the calls.
//!
//! ```text
//! look up ─┬─ resolved, too old ─▶ done
//!          ├─ event ─▶ join ─┬─ joined, already resolved, too old ─▶ done
//!          │                 ├─ not found ─▶ waits; at the last try: register UNJOINABLE(timed_out)
//!          │                 ├─ collecting ─▶ waits for further partners
//!          │                 └─ row too large ─▶ register UNJOINABLE(row_too_large)
//!          └─ malformed ─▶ register ─┬─ registered, already resolved, too old ─▶ done
//!                                    └─ too large ─▶ register without the original
//! ```

use crate::registration::{is_smallest, unjoinable, without_original};
use crate::{Done, Flight, Subject};
use rtf_proto::{JoinVerdict, Known, Reason, Registration, Verdict};
use rtf_service::mutant;

/// What is to be done for a record.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Step {
    /// Ask the registry whether it is resolved.
    LookUp,
    /// Ask the joiner to join it.
    Join,
    /// Ask the registry to take this.
    Register(Box<Registration>),
}

/// What an answer means.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Next {
    /// On to this step.
    Go(Step),
    /// The same step again, after a while.
    Again,
    /// It waits for a partner.
    Wait,
    /// It has a partner, and waits for more.
    Collect,
    /// It is done.
    Done(Done),
}

pub(crate) fn after_lookup(flight: &Flight, answer: Option<Known>) -> Next {
    match (answer, &flight.subject) {
        (Some(Known::Resolved(_)), _) => Next::Done(Done::AlreadyResolved),
        (Some(Known::TooOld), _) => Next::Done(Done::TooOld),
        (None, Subject::Event(_)) => Next::Go(Step::Join),
        (None, Subject::Malformed(registration)) => register(registration.clone()),
    }
}

/// Counts the attempts that were in vain.
pub(crate) fn after_join(flight: &mut Flight, verdict: JoinVerdict) -> Next {
    let Subject::Event(event) = &flight.subject else {
        unreachable!("only events are joined");
    };
    let give_up = |reason| {
        let attempts = flight.attempts + 1;
        let origin = flight.origin.as_ref();
        register(unjoinable(
            event,
            origin,
            reason,
            attempts,
            flight.first_seen_ms,
        ))
    };
    match verdict {
        JoinVerdict::Joined(_) => Next::Done(Done::Joined),
        JoinVerdict::AlreadyResolved(_) => Next::Done(Done::Wasted),
        JoinVerdict::TooOld => Next::Done(Done::TooOld),
        JoinVerdict::NotReady if mutant::is("not-ready-is-no-partner") => give_up(Reason::TimedOut),
        JoinVerdict::NotReady => Next::Again,
        JoinVerdict::Collecting => Next::Collect,
        JoinVerdict::RowTooLarge => give_up(Reason::RowTooLarge),
        JoinVerdict::NotFound if flight.last_try => give_up(Reason::TimedOut),
        JoinVerdict::NotFound => {
            flight.attempts += 1;
            Next::Wait
        }
    }
}

pub(crate) fn after_register(registration: &Registration, verdict: Verdict) -> Next {
    match verdict {
        Verdict::Registered(_) => Next::Done(registration.outcome.into()),
        Verdict::AlreadyResolved(_) => Next::Done(Done::Wasted),
        Verdict::TooOld => Next::Done(Done::TooOld),
        // A log that does not take even that much is set up wrongly: nothing to do but to insist.
        Verdict::TooLarge if is_smallest(registration) => Next::Again,
        Verdict::TooLarge => register(without_original(registration)),
    }
}

fn register(registration: Registration) -> Next {
    Next::Go(Step::Register(Box::new(registration)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::flight;
    use rtf_proto::Outcome;

    #[test]
    fn what_is_too_old_waits_for_nobody() {
        let flight = flight(0, 1, "k");
        let next = after_lookup(&flight, Some(Known::TooOld));
        assert_eq!(next, Next::Done(Done::TooOld));
        assert_eq!(after_lookup(&flight, None), Next::Go(Step::Join));
    }

    #[test]
    fn only_the_last_try_gives_up() {
        let mut flight = flight(0, 1, "k");
        assert_eq!(after_join(&mut flight, JoinVerdict::NotFound), Next::Wait);
        assert_eq!(flight.attempts, 1);
        flight.last_try = true;
        let Next::Go(Step::Register(registration)) = after_join(&mut flight, JoinVerdict::NotFound)
        else {
            panic!("not given up");
        };
        assert_eq!(registration.outcome, Outcome::Unjoinable(Reason::TimedOut));
    }

    #[test]
    fn collecting_is_no_attempt_in_vain() {
        let mut flight = flight(0, 1, "k");
        let next = after_join(&mut flight, JoinVerdict::Collecting);
        assert_eq!((next, flight.attempts), (Next::Collect, 0));
    }

    #[test]
    fn not_ready_is_no_answer() {
        let mut flight = flight(0, 1, "k");
        flight.last_try = true;
        assert_eq!(after_join(&mut flight, JoinVerdict::NotReady), Next::Again);
        assert_eq!(flight.attempts, 0);
    }

    #[test]
    fn what_never_fits_ends_as_malformed() {
        let mut flight = flight(0, 1, "k");
        let Next::Go(Step::Register(large)) = after_join(&mut flight, JoinVerdict::RowTooLarge)
        else {
            panic!("not given up");
        };
        assert_eq!(large.outcome, Outcome::Unjoinable(Reason::RowTooLarge));
        let Next::Go(Step::Register(small)) = after_register(&large, Verdict::TooLarge) else {
            panic!("not made smaller");
        };
        assert_eq!(
            after_register(&small, Verdict::Registered(5)),
            Next::Done(Done::Malformed)
        );
        assert_eq!(after_register(&small, Verdict::TooLarge), Next::Again);
    }
}
