// A redis-server of a test's own, with rows in it as the publisher writes them.

import { connect } from "node:net";
import { join } from "node:path";
import { freePort, Process, until } from "./process.mjs";

export const NAME = "browser";

export class Redis {
  /** Starts one in this folder. */
  static async start(folder) {
    const redis = new Redis();
    redis.port = await freePort();
    redis.process = new Process("redis-server", ["--port", redis.port, "--bind", "127.0.0.1", "--save", "", "--dir", folder], join(folder, "redis.log"));
    redis.socket = await until("redis-server answers", () => open(redis.port));
    redis.offsets = new Map();
    redis.waiting = [];
    redis.socket.on("data", (data) => redis.#take(data));
    return redis;
  }

  get url() {
    return `redis://127.0.0.1:${this.port}`;
  }

  async stop() {
    this.socket.destroy();
    await this.process.kill();
  }

  /** Appends rows, each to the end of its partition, and says what they became. */
  async add(rows) {
    const whole = rows.map((row) => this.#complete(row));
    const commands = whole.map((row) => command("XADD", `${NAME}:joined:{${row.partition}}`, `${row.offset}-0`, "row", row.json ?? JSON.stringify(row)));
    const answered = commands.map(() => new Promise((resolve) => this.waiting.push(resolve)));
    this.socket.write(commands.join(""));
    await Promise.all(answered);
    return whole;
  }

  #complete(row) {
    const partition = row.partition ?? 0;
    // A log begins with a record of its own; Redis has no entry 0-0 either.
    const offset = this.offsets.get(partition) ?? 1;
    // Gaps between offsets are normal.
    this.offsets.set(partition, offset + 1 + (offset % 3));
    const id = `${partition}-${offset}`;
    const now = Date.now();
    return { id, key: "Austin, TX", outcome: "joined", foreign: {}, primary: [], foreign_ts: now - 5000, primary_ts: now - 900, attempts: 3, joined_ts: now, ...row, offset, partition };
  }

  /** Answers are ids, one to a command; none of them has a line break in it. */
  #take(data) {
    this.rest = (this.rest ?? "") + data.toString("latin1");
    const answers = this.rest.match(/\$\d+\r\n[^\r]*\r\n|[-+:][^\r]*\r\n/g) ?? [];
    this.rest = this.rest.slice(answers.join("").length);
    for (const answer of answers) {
      if (answer.startsWith("-")) throw new Error(`redis: ${answer}`);
      this.waiting.shift()();
    }
  }
}

function open(port) {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("connect", () => resolve(socket));
    socket.once("error", () => resolve(null));
  });
}

function command(...parts) {
  return `*${parts.length}\r\n${parts.map((part) => `$${Buffer.byteLength(String(part))}\r\n${part}\r\n`).join("")}`;
}
