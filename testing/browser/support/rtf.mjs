// The program under test.

import { join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../../..", import.meta.url));

/** As `./test` builds it. */
export const RTF = join(process.env.CARGO_TARGET_DIR ?? join(ROOT, "target"), "release/rtf");
