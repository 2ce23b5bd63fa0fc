import { spawn } from "node:child_process";
import { mkdirSync } from "node:fs";
import { root } from "../build/paths.ts";
import { usualShape } from "./arguments.ts";
import { codeCache, keepCodeCache, offerCodeCache } from "./code-cache.ts";
import { NestedHost } from "./host.ts";
import type { SuiteFile } from "./suite-files.ts";

/** Where suites run. Each gets a folder whose files are in `out` afterwards, however it ended. */
export interface Place {
  run(suite: SuiteFile, job: Job): Promise<number>;
}

export interface Job {
  /** Made for the folder as the suite sees it. */
  argv: (folder: string) => readonly [string, ...string[]];
  env: (folder: string) => Readonly<Record<string, string>>;
  /** Folder on this machine. */
  out: string;
  onOutput: (data: Uint8Array) => void;
  onConsole: (text: string) => void;
  timeoutMs: number;
  signal: AbortSignal;
}

const inside = "/run/exai-kvm";

/** A nested host for each suite: nothing of one is there for the next, and one that brings its host down is alone. */
export const nestedPlace: Place = {
  async run(suite, { argv, env, out, onOutput, onConsole, timeoutMs, signal }) {
    await using host = await NestedHost.start({ shape: { ...usualShape, cpus: suite.cpus }, signal });
    try {
      await host.output(["mkdir", "-p", inside]);
      await offerCodeCache(host);
      const variables = { ...env(inside), NODE_COMPILE_CACHE: codeCache.inside };
      const options = { env: variables, cwd: root, onStdout: onOutput, onStderr: onOutput, timeoutMs, signal };
      const { code } = await host.run(argv(inside), options);
      await host.copyOut(inside, out);
      await keepCodeCache(host);
      return code;
    } finally {
      onConsole(host.console());
    }
  },
};

/** This machine, where its KVM works, but for suites that would change it. */
export const thisPlace: Place = {
  run: (suite, job) => (suite.nested ? nestedPlace : here).run(suite, job),
};

const here: Place = {
  run(_suite, { argv, env, out, onOutput, timeoutMs, signal }) {
    mkdirSync(out, { recursive: true });
    const [program, ...args] = argv(out);
    const both = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]);
    const child = spawn(program, args, {
      cwd: root,
      env: { ...process.env, ...env(out) },
      stdio: ["ignore", "pipe", "pipe"],
      signal: both,
    });
    child.stdout.on("data", onOutput);
    child.stderr.on("data", onOutput);
    return new Promise((resolve, reject) => {
      child.once("error", reject);
      child.once("close", (code) => resolve(code ?? 1));
    });
  },
};
