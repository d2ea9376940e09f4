//! Contract: which topics and JSON pointers the workloads are made for. Says it, and checks nothing.

/// One side of a join, as its configuration would say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    /// The Kafka topic.
    pub topic: &'static str,
    /// JSON pointer of the event's id; or another field, or several, separated by spaces.
    pub id: &'static str,
    /// JSON pointer of the join key, likewise.
    pub key: &'static str,
    /// JSON pointer of the event's time, if it has one of its own.
    pub time: Option<&'static str>,
    /// JSON pointer of the time from which the event matches nobody, if there is one.
    pub expires: Option<&'static str>,
}

impl Stream {
    /// Events with an `/id` and a key.
    pub const fn of(topic: &'static str, key: &'static str) -> Self {
        Self {
            topic,
            id: "/id",
            key,
            time: None,
            expires: None,
        }
    }
}

/// A join of two streams, as its configuration would say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Join {
    /// The join's name, the prefix of its topics and keys.
    pub name: &'static str,
    /// The stream that drives the join.
    pub foreign: Stream,
    /// The stream that is looked up.
    pub primary: Stream,
    /// JSON pointer in the primary by which the best match is chosen (the least is best), if not the first.
    pub order_by: Option<&'static str>,
}

/// The demonstration: tweets and the cheapest deals from where they were written.
pub const VACATION: Join = Join {
    name: "vacation",
    foreign: Stream {
        topic: "tweets",
        id: "/id_str",
        key: "/user/location",
        time: Some("/created_at"),
        expires: None,
    },
    primary: Stream {
        topic: "deals",
        id: "/id",
        key: "/departureAirportLocation",
        time: None,
        expires: Some("/departureTime"),
    },
    order_by: Some("/totalFare"),
};

/// The load: clicks and the query that each of them came from.
pub const CLICKS: Join = Join {
    name: "clicks",
    foreign: Stream {
        topic: "clicks",
        id: "/click_id",
        key: "/query_id",
        time: Some("/time"),
        expires: None,
    },
    primary: Stream {
        topic: "queries",
        id: "/query_id",
        key: "/query_id",
        time: Some("/time"),
        expires: None,
    },
    order_by: None,
};

/// An example: payments and the order that each of them is for.
pub const PAYMENTS: Join = Join {
    name: "payments",
    foreign: Stream {
        topic: "payments",
        id: "/payment_id",
        key: "/order_id",
        time: Some("/time"),
        expires: None,
    },
    primary: Stream {
        topic: "orders",
        id: "/order_id",
        key: "/order_id",
        time: Some("/time"),
        expires: None,
    },
    order_by: None,
};

/// An example: readings of sensors and the calibrations of these.
pub const SENSORS: Join = Join {
    name: "sensors",
    foreign: Stream {
        topic: "readings",
        id: "/reading_id",
        key: "/sensor_id",
        time: Some("/time"),
        expires: None,
    },
    primary: Stream {
        topic: "calibrations",
        id: "/calibration_id",
        key: "/sensor_id",
        time: Some("/time"),
        expires: None,
    },
    order_by: None,
};
