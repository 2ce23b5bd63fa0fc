import { realpathSync } from "node:fs";
import { join } from "node:path";
import { cachePaths } from "../build/paths.ts";

/** The main job's real input: what is uploaded, what runs, and what its report must say. */
export interface Job {
  readonly name: string;
  readonly uploads: readonly string[];
  readonly command: readonly string[];
  /** The JUnit report's path in the guest. */
  readonly report: string;
  /** Tests that the report must count. */
  readonly tests: number;
}

/** Pinned by version and hash in tests/material/requirements.txt; `npm run build` fetched it with pip. */
export function material(): Job {
  return {
    name: "Jinja2 3.1.6, a third-party Python package",
    uploads: [
      "--upload",
      `${realpathSync(cachePaths().material)}:material`,
      "--upload",
      `${join(import.meta.dirname, "job.sh")}:job.sh`,
    ],
    command: ["sh", "job.sh"],
    report: "junit.xml",
    tests: 909,
  };
}
