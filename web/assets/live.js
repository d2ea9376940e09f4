// The stream of new rows: opens it, opens it again where it broke off, and tells what it is at.

const RETRY_MIN_MS = 1000;
const RETRY_MAX_MS = 15000;

export class Live {
  /** `on.rows(rows)`, `on.state("live" | "connecting" | "away", reason)`. */
  constructor(on) {
    this.on = on;
    this.source = null;
    this.retry = RETRY_MIN_MS;
  }

  /** Everything after this cursor. */
  open(after) {
    this.after = after;
    this.source?.close();
    const source = new EventSource(`/api/stream?after=${encodeURIComponent(after)}`);
    this.source = source;
    source.addEventListener("rows", (event) => {
      this.after = event.lastEventId;
      this.on.rows(JSON.parse(event.data));
    });
    source.addEventListener("store", (event) => {
      const { ok, reason } = JSON.parse(event.data);
      this.retry = RETRY_MIN_MS;
      this.on.state(ok ? "live" : "away", reason);
    });
    source.addEventListener("error", () => this.#lost(source));
  }

  /** The browser tries again by itself, except after an answer it does not like. */
  #lost(source) {
    this.on.state("connecting", "The server does not answer.");
    if (source.readyState !== EventSource.CLOSED || source !== this.source) return;
    setTimeout(() => source === this.source && this.open(this.after), this.retry);
    this.retry = Math.min(this.retry * 2, RETRY_MAX_MS);
  }
}
