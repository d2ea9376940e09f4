// Numbers and times in words, in the reader's language and zone.

const whole = new Intl.NumberFormat(undefined, { maximumFractionDigits: 0 });
const tenth = new Intl.NumberFormat(undefined, { maximumFractionDigits: 1 });
const hundredth = new Intl.NumberFormat(undefined, { maximumFractionDigits: 2 });
const compact = new Intl.NumberFormat(undefined, { notation: "compact", maximumFractionDigits: 1 });
const relative = new Intl.RelativeTimeFormat(undefined, { numeric: "auto" });
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const day = new Intl.DateTimeFormat(undefined, { weekday: "short", day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });

const HOUR = 3600;
const UNITS = [[86400 * 365, "year"], [86400 * 30, "month"], [86400, "day"], [HOUR, "hour"], [60, "minute"], [1, "second"]];

/** 12,345 up to a million, then 1.2M. */
export function count(n) {
  return Math.abs(n) < 1e6 ? whole.format(n) : compact.format(n);
}

/** A rate: tenths and less where they tell something. */
export function rate(n) {
  if (n < 1) return hundredth.format(n);
  return n < 100 ? tenth.format(n) : count(n);
}

/** Seconds as "8 ms", "1.4 s", "3 min", "2 h". */
export function seconds(s) {
  if (s < 1) return `${s < 0.01 ? tenth.format(s * 1000) : whole.format(s * 1000)} ms`;
  if (s < 90) return `${tenth.format(s)} s`;
  if (s < 90 * 60) return `${whole.format(s / 60)} min`;
  return s < 48 * HOUR ? `${tenth.format(s / HOUR)} h` : `${tenth.format(s / 24 / HOUR)} d`;
}

/** "8 seconds ago", "in 12 days". */
export function ago(ms, now = Date.now()) {
  const s = (ms - now) / 1000;
  const [size, unit] = UNITS.find(([size]) => Math.abs(s) >= size) ?? UNITS.at(-1);
  return relative.format(Math.round(s / size), unit);
}

/** What a moment is called: near ones by their distance, others by their date; then the other way round. */
export function moment(ms, now = Date.now()) {
  const date = new Date(ms);
  return Math.abs(ms - now) < HOUR * 1000 ? [ago(ms, now), clock.format(date)] : [day.format(date), ago(ms, now)];
}

/** The moment in full. */
export function precisely(ms) {
  return full.format(new Date(ms));
}

/** The time of day. */
export function clockTime(ms) {
  return clock.format(new Date(ms));
}

/** "312 MB". */
export function bytes(n) {
  const power = Math.min(4, Math.floor(Math.log10(Math.max(1, n)) / 3));
  return `${tenth.format(n / 1000 ** power)} ${["B", "kB", "MB", "GB", "TB"][power]}`;
}

/** RFC 3339, Twitter's format or epoch ms, as epoch ms; NaN when it is none of these. */
export function time(value) {
  if (typeof value === "number") return value;
  return /^\d{12,14}$/.test(value) ? Number(value) : Date.parse(value);
}

/** A sum of money; `currency` may be missing or nonsense. */
export function money(value, currency) {
  const style = /^[A-Z]{3}$/.test(currency ?? "") ? { style: "currency", currency } : {};
  return new Intl.NumberFormat(undefined, { minimumFractionDigits: 2, maximumFractionDigits: 2, ...style }).format(value);
}
