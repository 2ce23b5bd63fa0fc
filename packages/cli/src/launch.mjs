// Plain JavaScript, so that the cache of compiled code is on before the first TypeScript file is read: with it a start
// needs neither the compiler nor the type stripper.
import { mkdirSync } from "node:fs";
import { enableCompileCache } from "node:module";
import { homedir } from "node:os";
import { join } from "node:path";
import { bundle, hasFreshBundle } from "./fresh.mjs";

// The user's own folder: one in /tmp could be prepared by somebody else.
const folder = join(process.env.XDG_CACHE_HOME || join(homedir(), ".cache"), "exai", "compiled");
try {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  enableCompileCache(folder);
} catch {
  // A home that can't be written costs some milliseconds and nothing else.
}
const { main } = await import(hasFreshBundle() ? bundle.main : "./main.ts");
const code = await main(process.argv.slice(2));
// A pipe may still hold output that its reader has not taken; a forgotten timer must not hold us up.
for (const stream of [process.stdout, process.stderr]) {
  stream.on("error", () => undefined); // the reader has gone
  await new Promise((resolve) => stream.write("", resolve));
}
process.exit(code);
