import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describeError } from "@exai/base";
import { cachePaths } from "./paths.ts";
import { buildRootfs, rootfsFormat } from "./rootfs.ts";
import { baseRootfs } from "./steps.ts";

/**
 * `npm run image:check`: the base image is reproducible. Builds its root file system twice from nothing, in two
 * folders and a few seconds apart, and compares the digests. The cached packages serve both.
 */
async function digestOfFreshBuild(at: number): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), "exai-image-check-"));
  try {
    const startedMs = performance.now();
    const built = await buildRootfs(baseRootfs, {
      strict: true,
      onNote: (text) => console.error(text),
      buildFolder: folder,
    });
    const bytes = readFileSync(join(built.folder, `rootfs.${rootfsFormat}`));
    const digest = createHash("sha256").update(bytes).digest("hex");
    const seconds = ((performance.now() - startedMs) / 1000).toFixed(1);
    console.log(`build ${at}: ${digest} (${bytes.length} bytes, ${seconds} s)`);
    return digest;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

try {
  console.log(`packages from ${cachePaths().debs}`);
  const first = await digestOfFreshBuild(1);
  const second = await digestOfFreshBuild(2);
  if (first !== second) throw new Error("the base image is not reproducible: the digests differ");
  console.log("the base image is reproducible");
} catch (error) {
  console.error(`image:check: ${describeError(error)}`);
  process.exitCode = 1;
}
