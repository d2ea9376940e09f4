//! Airports: the 17 cities of the demonstration, and a few that no deal departs from.
//!
//! IATA codes, names and coordinates are facts taken from OurAirports (ourairports.com/data, public domain),
//! coordinates to four decimals. The cities are the seventeen largest of the United States in the early 2020s
//! that have an airport of their own (Fort Worth shares that of Dallas); of several airports in one city the
//! one with the most passengers.

/// An airport and the city it serves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Airport {
    /// IATA code.
    pub code: &'static str,
    /// The airport's name.
    pub name: &'static str,
    /// City and state, as people write it: the key of the join.
    pub city: &'static str,
    /// Degrees north.
    pub latitude: f64,
    /// Degrees east.
    pub longitude: f64,
}

const fn airport(
    code: &'static str,
    name: &'static str,
    city: &'static str,
    latitude: f64,
    longitude: f64,
) -> Airport {
    Airport {
        code,
        name,
        city,
        latitude,
        longitude,
    }
}

/// Where deals depart from and arrive, the largest city first. "San José" is how that city writes itself, and
/// keeps the join honest about characters beyond ASCII.
#[rustfmt::skip]
pub const AIRPORTS: [Airport; 17] = [
    airport("JFK", "John F Kennedy International Airport",             "New York, NY",      40.6398,  -73.7789),
    airport("LAX", "Los Angeles International Airport",                "Los Angeles, CA",   33.9425, -118.4080),
    airport("ORD", "Chicago O'Hare International Airport",             "Chicago, IL",       41.9786,  -87.9048),
    airport("IAH", "George Bush Intercontinental Houston Airport",     "Houston, TX",       29.9844,  -95.3414),
    airport("PHX", "Phoenix Sky Harbor International Airport",         "Phoenix, AZ",       33.4343, -112.0120),
    airport("PHL", "Philadelphia International Airport",               "Philadelphia, PA",  39.8719,  -75.2411),
    airport("SAT", "San Antonio International Airport",                "San Antonio, TX",   29.5337,  -98.4698),
    airport("SAN", "San Diego International Airport",                  "San Diego, CA",     32.7336, -117.1900),
    airport("DFW", "Dallas Fort Worth International Airport",          "Dallas, TX",        32.8968,  -97.0380),
    airport("JAX", "Jacksonville International Airport",               "Jacksonville, FL",  30.4941,  -81.6879),
    airport("AUS", "Austin Bergstrom International Airport",           "Austin, TX",        30.1945,  -97.6699),
    airport("SJC", "Norman Y. Mineta San Jose International Airport",  "San José, CA",      37.3626, -121.9290),
    airport("CLT", "Charlotte Douglas International Airport",          "Charlotte, NC",     35.2140,  -80.9431),
    airport("CMH", "John Glenn Columbus International Airport",        "Columbus, OH",      39.9980,  -82.8919),
    airport("IND", "Indianapolis International Airport",               "Indianapolis, IN",  39.7173,  -86.2944),
    airport("SFO", "San Francisco International Airport",              "San Francisco, CA", 37.6190, -122.3750),
    airport("SEA", "Seattle Tacoma International Airport",             "Seattle, WA",       47.4490, -122.3090),
];

/// Cities from which no deal departs: a tweet from there must end as unjoinable.
pub const ELSEWHERE: [&str; 6] = [
    "Fargo, ND",
    "Bozeman, MT",
    "Key West, FL",
    "Marfa, TX",
    "Bar Harbor, ME",
    "Duluth, MN",
];

const KM_PER_DEGREE: f64 = 111.2;

impl Airport {
    /// Distance in kilometres, good to a few per cent within the United States.
    ///
    /// Only sums, products and a square root, which are the same on every machine; sines are not.
    pub(crate) fn distance_km(&self, other: &Self) -> u32 {
        let middle = ((self.latitude + other.latitude) / 2.0).to_radians();
        let squared = middle * middle;
        let cosine = 1.0 - squared / 2.0 + squared * squared / 24.0;
        let north = self.latitude - other.latitude;
        let east = (self.longitude - other.longitude) * cosine;
        ((north * north + east * east).sqrt() * KM_PER_DEGREE) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn codes_and_cities_are_unique_and_no_deal_departs_elsewhere() {
        let codes: BTreeSet<_> = AIRPORTS.iter().map(|airport| airport.code).collect();
        let cities: BTreeSet<_> = AIRPORTS.iter().map(|airport| airport.city).collect();
        assert_eq!(
            (codes.len(), cities.len()),
            (AIRPORTS.len(), AIRPORTS.len())
        );
        assert!(ELSEWHERE.iter().all(|city| !cities.contains(city)));
    }

    #[test]
    fn coordinates_lie_in_the_contiguous_states() {
        for airport in AIRPORTS {
            assert!((24.5..49.4).contains(&airport.latitude), "{}", airport.code);
            assert!(
                (-125.0..-66.9).contains(&airport.longitude),
                "{}",
                airport.code
            );
        }
    }

    #[test]
    fn distances_are_about_right() {
        let of = |code| {
            AIRPORTS
                .iter()
                .find(|airport| airport.code == code)
                .expect(code)
        };
        for (from, to, km) in [
            ("JFK", "LAX", 3974),
            ("SFO", "SJC", 48),
            ("SEA", "JAX", 3950),
            ("DFW", "IAH", 361),
        ] {
            let distance = of(from).distance_km(of(to));
            assert_eq!(distance, of(to).distance_km(of(from)));
            assert!(
                distance.abs_diff(km) * 20 <= km,
                "{from}-{to}: {distance} km, not {km}"
            );
        }
    }
}
