// Programs that a test starts, and ends, by themselves.

import { spawn } from "node:child_process";
import { createServer } from "node:net";
import { mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Nothing takes longer here unless it is broken. */
export const PATIENCE_MS = 30_000;

/** A port of the loopback that nobody listens on. */
export function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer().on("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

/** A folder for one test. */
export function folder() {
  const path = mkdtempSync(join(tmpdir(), "rtf-browser-"));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

/** Asks again and again until the answer is true; fails with what was wanted. */
export async function until(what, ask, patience = PATIENCE_MS) {
  const deadline = Date.now() + patience;
  let last;
  while (Date.now() < deadline) {
    last = await ask();
    if (last) return last;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`not in time: ${what}`);
}

/** A program whose output goes into a file. */
export class Process {
  constructor(command, args, log) {
    this.log = log;
    const out = openSync(log, "a");
    this.child = spawn(command, args, { stdio: ["ignore", out, out] });
    this.ended = new Promise((resolve) => {
      this.child.once("exit", resolve);
      this.child.once("error", resolve);
    });
  }

  /** As a power cut would. */
  async kill() {
    this.child.kill("SIGKILL");
    await this.ended;
  }

  /** As an operator would. */
  async stop() {
    this.child.kill("SIGTERM");
    await this.ended;
  }

  get output() {
    return readFileSync(this.log, "utf8");
  }
}
