// `rtf demo`: everything in one process, as who tries it first sees it.

import { join } from "node:path";
import { folder, freePort, Process, until } from "./process.mjs";
import { RTF } from "./rtf.mjs";

export class Demo {
  /** Starts it without a Redis, so that nothing else is needed. */
  static async start(rate = 5) {
    const demo = new Demo();
    demo.folder = folder();
    const listen = `127.0.0.1:${await freePort()}`;
    demo.url = `http://${listen}`;
    demo.process = new Process(RTF, ["demo", "--no-redis", "--listen", listen, "--rate", rate], join(demo.folder.path, "demo.log"));
    await until("the demonstration has rows", () => demo.rows().then((rows) => rows.length > 0, () => false));
    return demo;
  }

  async rows() {
    const answer = await fetch(`${this.url}/api/rows`);
    return (await answer.json()).rows;
  }

  async stop() {
    await this.process.stop();
    this.folder.remove();
  }
}
