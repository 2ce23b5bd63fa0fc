import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { root } from "../build/paths.ts";
import { HostError } from "./errors.ts";

/** One file of tests that needs a host with KVM. */
export interface SuiteFile {
  /** `evidence` for tests/kvm/evidence.test.ts. */
  name: string;
  /** Relative to the checkout. */
  path: string;
  /** Processors of the nested host that it runs in. */
  cpus: number;
  /** How long it may take. */
  minutes: number;
  /** Also where this machine's KVM works: it changes the host that it runs on, or wants one of a certain shape. */
  nested: boolean;
  /** While it runs, no other does: it measures what each of two neighbours gets. */
  alone: boolean;
}

const folder = "tests/kvm";
/** What takes longer than a daily run may. */
const fullFolder = `${folder}/full`;
/** `// nested-host: cpus=2` on a line of its own, `minutes=25` for what takes longer than usual, `always` and `alone`. */
const wishes = { cpus: /^\/\/ nested-host: cpus=([1-4])$/m, minutes: /^\/\/ nested-host: minutes=(\d\d)$/m } as const;
const always = /^\/\/ nested-host: always$/m;
const alone = /^\/\/ nested-host: alone$/m;
const usual = { cpus: 1, minutes: 15 } as const;

/**
 * The suites in the order of their names; `tests/kvm/full` only when asked for.
 * @param wanted names; none means all
 * @throws HostError `missing` for a name that no suite has
 */
export function findSuites(options: { full: boolean; wanted: readonly string[]; checkout?: string }): SuiteFile[] {
  const checkout = options.checkout ?? root;
  const everything = [folder, fullFolder].flatMap((each) => suitesIn(checkout, each));
  const unknown = options.wanted.find((name) => !everything.some((suite) => suite.name === name));
  if (unknown !== undefined) {
    const names = everything.map(({ name }) => name).join(", ");
    throw new HostError("missing", `there is no suite '${unknown}' in ${folder}; there are: ${names}`);
  }
  if (options.wanted.length > 0) return everything.filter(({ name }) => options.wanted.includes(name));
  return everything.filter(({ path }) => options.full || !path.startsWith(fullFolder));
}

function suitesIn(checkout: string, from: string): SuiteFile[] {
  let entries: string[];
  try {
    entries = readdirSync(join(checkout, from)).sort();
  } catch {
    return [];
  }
  return entries
    .filter((entry) => entry.endsWith(".test.ts"))
    .map((entry) => {
      const path = `${from}/${entry}`;
      const text = readFileSync(join(checkout, path), "utf8");
      const wished = (what: keyof typeof wishes): number => Number(wishes[what].exec(text)?.[1] ?? usual[what]);
      return {
        name: entry.slice(0, -".test.ts".length),
        path,
        cpus: wished("cpus"),
        minutes: wished("minutes"),
        nested: always.test(text),
        alone: alone.test(text),
      };
    });
}
