//! Waiting for a state, with a bound. The only place of the harness that sleeps.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How often a state is looked at. Short against everything that is waited for, long against a look.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Lets time pass, for what is about time: a pace, a random moment to kill at. For everything else there is [`wait_until`].
pub fn pause(time: Duration) {
    thread::sleep(time);
}

/// Asks `poll` until it has an answer, and gives up after `within` with an error that says `what` was awaited.
/// Asks at least once, and once more after the time is over, so that a slow `poll` is no reason to fail.
pub fn wait_until<T>(
    what: &str,
    within: Duration,
    mut poll: impl FnMut() -> Option<T>,
) -> Result<T> {
    let deadline = Instant::now() + within;
    loop {
        let is_last = Instant::now() >= deadline;
        if let Some(answer) = poll() {
            return Ok(answer);
        }
        if is_last {
            bail!("waited {within:?} in vain: {what}");
        }
        thread::sleep(POLL_INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_as_soon_as_the_state_is_there() {
        let mut looks = 0;
        let answer = wait_until("the third look", Duration::from_secs(60), || {
            looks += 1;
            (looks == 3).then_some("here")
        });
        assert_eq!(answer.unwrap(), "here");
        assert_eq!(looks, 3);
    }

    #[test]
    fn gives_up_in_time_and_says_on_what() {
        let error = wait_until("godot", Duration::from_millis(30), || None::<()>).unwrap_err();
        assert_eq!(error.to_string(), "waited 30ms in vain: godot");
    }

    #[test]
    fn asks_even_when_there_is_no_time() {
        assert_eq!(wait_until("now", Duration::ZERO, || Some(7)).unwrap(), 7);
    }
}
