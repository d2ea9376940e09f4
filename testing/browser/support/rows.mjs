// Rows for tests.

/** A row of somebody with this name. */
export function person(name, more = {}) {
  const { text = "I need a vacation", fare = 99.5, code = "AUS", key = "Austin, TX", foreign = {}, ...rest } = more;
  return {
    key,
    foreign: { user: { name }, text, created_at: "2026-11-25T12:00:00Z", ...foreign },
    primary: [{ totalFare: fare, currency: "USD", departureAirportCode: code }],
    ...rest,
  };
}

/** So many of them, spread over the partitions. */
export function people(count, first = 0) {
  return Array.from({ length: count }, (_, i) => person(`person ${first + i}`, { partition: (first + i) % 2 }));
}
