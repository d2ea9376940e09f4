//! Readings of sensors, and calibrations of these: what stands in them.

use super::{KEY_WORDS, Names, SENSORS, Theme, Words, cents};
use crate::draws::Draw;

pub(super) const THEME: Theme = Theme {
    join: SENSORS,
    foreign: Words {
        names: Names {
            id: "reading_id",
            key: "sensor_id",
        },
        id_prefix: "rdg-",
        rest: reading,
    },
    primary: Words {
        names: Names {
            id: "calibration_id",
            key: "sensor_id",
        },
        id_prefix: "cal-",
        rest: calibration,
    },
    key_prefix: "sns-",
};

const SITES: [&str; 5] = ["roof", "cellar", "hall 1", "hall 2", "gate"];
const TECHNICIANS: [&str; 4] = ["Ines", "Jonas", "Kemal", "Lucía"];

/// Where a sensor is.
fn site(mut key: Draw) -> &'static str {
    key.skip_to(KEY_WORDS);
    key.pick(&SITES)
}

fn reading(key: Draw, mut own: Draw) -> String {
    let (site, raw) = (site(key), own.below(1024));
    format!(",\"site\":\"{site}\",\"raw\":{raw}")
}

fn calibration(_: Draw, mut own: Draw) -> String {
    let (offset, scale) = (cents(own.below(500)), cents(own.between(50, 150)));
    let technician = own.pick(&TECHNICIANS);
    format!(",\"offset\":{offset},\"scale\":{scale},\"technician\":\"{technician}\"")
}
