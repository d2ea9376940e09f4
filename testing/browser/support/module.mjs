// The page's own modules without a browser: those that are pure can be tested so.

import { cpSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { folder } from "./process.mjs";

const ASSETS = fileURLToPath(new URL("../../../web/assets", import.meta.url));

/** One of web/assets. Beside it there is nothing that tells node that these are modules, so they are copied to where there is. */
export async function module(name) {
  const { path, remove } = folder();
  cpSync(ASSETS, path, { recursive: true });
  writeFileSync(join(path, "package.json"), '{ "type": "module" }');
  const loaded = await import(pathToFileURL(join(path, name)));
  remove();
  return loaded;
}
