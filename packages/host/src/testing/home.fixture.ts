import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Home, openHome } from "../home/home.ts";
import { runPaths } from "../home/paths.ts";
import { releaseUidRange } from "../home/uid-range.ts";

/** A home of a test's own; disposed of, nothing of it is left, its run folder and its claim on uids included. */
export function makeTestHome(): { folder: string; home: Home } & Disposable {
  const folder = mkdtempSync(join(tmpdir(), "exai-home-"));
  chmodSync(folder, 0o711);
  const home = openHome(join(folder, "home"), 0);
  return {
    folder,
    home,
    [Symbol.dispose]() {
      rmSync(runPaths(home.stack).run, { recursive: true, force: true });
      releaseUidRange(home.paths.home);
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
