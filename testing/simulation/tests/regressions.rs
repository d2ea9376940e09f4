//! Seeds that failed once, by what it was. A seed's world changes with the simulation: then it is one seed more.

use rtf_simulation::plan::Plan;
use rtf_simulation::run::{Keep, run};

fn check(seeds: &[u64]) {
    for seed in seeds {
        assert_eq!(
            run(&Plan::of(*seed), Keep::Nothing).violation,
            None,
            "seed {seed}"
        );
    }
}

/// The dispatcher let an event's wait begin with the look for it, up to 100 ms before it was there.
/// `dispatcher/tests/dispatcher.rs: what_comes_after_a_lull_waits_its_whole_time` shows it with a broker.
#[test]
fn nothing_is_given_up_before_its_time() {
    check(&[5, 8, 10, 51, 229, 286]);
}

/// No fault of the product's: a reader that was behind waited for the simulated Kafka without sleeping, and made everybody's clock run ahead by up to
/// 20 s; then it stood still for all until the simulation's time had come as far.
#[test]
fn the_clock_does_not_run_ahead() {
    check(&[56, 70, 87, 95, 98, 115, 129, 173, 225, 232, 233]);
}

/// No fault of the product's: where there is room for few events, those that find nobody hold the window one after the other, each for all of its wait.
#[test]
fn a_narrow_world_takes_its_time() {
    check(&[21_795_702_715]);
}

/// No fault of the product's: nobody looked whether the foreign topic is still the same, as a thread of the dispatcher does each five seconds; and where a member has nothing to read, a
/// position that Kafka lost stays lost.
#[test]
fn a_topic_is_looked_after_and_a_lost_position_may_stay_lost() {
    check(&[67, 3128]);
}

/// A log that was split before its settings were heard forgot what had been registered as soon as its marks had come, and not after its horizon.
/// `registry/src/age.rs: a_split_before_settings_are_heard_has_nothing_forgotten_earlier` shows it without a world around.
#[test]
fn a_split_has_nothing_forgotten_earlier() {
    check(&[13, 71, 157, 227]);
}

/// No fault of the product's: what waited for a new partition was looked after on a thread that no seed decides; and a joiner that opened its store asked a
/// Kafka that kept records back again and again, while nobody else got a turn.
#[test]
fn who_waits_lets_others_go_on() {
    check(&[70, 72, 90, 121]);
}

/// No fault of the product's: a reader that had found no room until it handed a batch in took that for an empty topic and rested, which no thread does.
#[test]
fn who_had_no_room_looks_again_at_once() {
    check(&[927, 21_796_751_059]);
}
