// How far something is: an offset for each partition, as the server writes it ("0:123,3:77").

/** Reads a cursor's text. */
export function parse(text) {
  const parts = !text || text === "-" ? [] : text.split(",");
  return new Map(parts.map((part) => part.split(":").map(Number)));
}

/** Writes it. */
export function write(cursor) {
  const parts = [...cursor].sort(([a], [b]) => a - b).map(([partition, offset]) => `${partition}:${offset}`);
  return parts.join(",") || "-";
}

/** Whether the row was seen by a reader that stands at the cursor. */
export function covers(cursor, row) {
  return (cursor.get(row.partition) ?? -1) >= row.offset;
}
