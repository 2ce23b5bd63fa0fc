import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Result } from "../bench/result.ts";
import { cachePaths } from "../build/paths.ts";
import { choosePlace } from "../nested-host/test.ts";

export interface KvmOptions {
  readonly ids: readonly string[];
  readonly rounds: number;
  readonly signal: AbortSignal;
  say(line: string): void;
}

const longestMs = 1_800_000;
/** The file in which inside.ts leaves its results. */
const resultsFile = "results.json";

/** Runs inside.ts where KVM works, and brings its results here. */
export async function onKvm({ ids, rounds, signal, say }: KvmOptions): Promise<Result[]> {
  const place = await choosePlace(say);
  const out = mkdtempSync(join(tmpdir(), "exai-bench-kvm-"));
  try {
    let console = "";
    const code = await place.run(
      { name: "bench", path: "", cpus: 1, minutes: 15, nested: false, alone: true },
      {
        argv: () => ["node", "tools/bench-kvm/inside.ts", "--only", ids.join(","), "--rounds", String(rounds)],
        env: (inside) => ({ EXAI_KVM_OUT: inside, EXAI_CACHE: cachePaths().cache }),
        out,
        onOutput: (data) => void process.stderr.write(data),
        onConsole: (text) => {
          console = text;
        },
        timeoutMs: longestMs,
        signal,
      },
    );
    if (code !== 0) throw new Error(`the run ended with ${code}; the host's console: ${console.slice(-2000)}`);
    return JSON.parse(readFileSync(join(out, resultsFile), "utf8")) as Result[];
  } finally {
    rmSync(out, { recursive: true, force: true });
  }
}
