// `rtf web` over a Redis of its own: the real server, and rows that a test decides on.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { folder, freePort, Process, until } from "./process.mjs";
import { NAME, Redis } from "./redis.mjs";
import { RTF } from "./rtf.mjs";

/** Partitions that rows go to. */
export const PARTITIONS = 2;

const COLUMNS = `[
    { title = "Name", value = "/foreign/user/name" },
    { title = "Text", value = "/foreign/text", width = "30em" },
    { title = "Departure", value = "/primary/0/departureAirportCode", format = "airport" },
    { title = "Price", value = "/primary/0/totalFare", format = "money", details = ["/primary/0/currency"] },
    { title = "Sent", value = "/foreign/created_at", format = "time", phone = false },
    { title = "Where", value = "/foreign/link", format = "link" },
]`;

export class Site {
  /** Starts Redis and the page. `map`: whether rows have places. */
  static async start({ map = false } = {}) {
    const site = new Site();
    site.folder = folder();
    site.redis = await Redis.start(site.folder.path);
    site.port = await freePort();
    site.url = `http://127.0.0.1:${site.port}`;
    const places = map ? `[web.map]\nfrom = ["/foreign/lat", "/foreign/lon"]\nto = ["/primary/0/departureAirportCode"]\n` : "";
    const ports = [];
    while (ports.length < 9) ports.push(await freePort());
    writeFileSync(join(site.folder.path, "rtf.toml"), configuration(site, ports, places));
    await site.serve();
    return site;
  }

  /** Starts the page, again if it was killed. */
  async serve() {
    const toml = join(this.folder.path, "rtf.toml");
    this.process = new Process(RTF, ["web", "-c", toml], join(this.folder.path, "web.log"));
    await until("the page is served", () => fetch(`${this.url}/livez`).then((answer) => answer.ok, () => false));
  }

  async kill() {
    await this.process.kill();
  }

  async stop() {
    await this.process.kill();
    await this.redis.stop();
    this.folder.remove();
  }
}

/** No other role runs: nobody listens on their ports, nor on Kafka's. */
function configuration({ redis, port }, [kafka, ...ports], places) {
  const section = (role, i) => `[${role}]\nlisten = "127.0.0.1:${ports[2 * i]}"\nhttp = "127.0.0.1:${ports[2 * i + 1]}"\n`;
  const others = ["registry", "joiner", "dispatcher", "publisher"].map(section);
  return `
[kafka]
bootstrap = "127.0.0.1:${kafka}"
[join]
name = "${NAME}"
[join.foreign]
topic = "tweets"
id = ["/id"]
key = ["/key"]
[join.primary]
topic = "deals"
id = ["/id"]
key = ["/key"]
[redis]
url = "${redis.url}"
${others[0]}partitions = ${PARTITIONS}
${others.slice(1).join("")}
[web]
listen = "127.0.0.1:${port}"
title = "In a browser"
columns = ${COLUMNS}
${places}`;
}
