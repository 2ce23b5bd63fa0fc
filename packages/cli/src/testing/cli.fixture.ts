import { spawn } from "node:child_process";
import { resolve } from "node:path";

export interface CliResult {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CliRun {
  readonly pid: number;
  readonly result: Promise<CliResult>;
  /** So far. */
  stdout(): string;
  kill(signal: NodeJS.Signals): void;
  write(data: string | Uint8Array): void;
  end(): void;
  /** The reader of its standard output goes away. */
  closeOutput(): void;
  /** Resolves when standard output or error holds the text. */
  until(text: string): Promise<void>;
}

const exai = resolve(import.meta.dirname, "../../bin/exai");

/** Starts the CLI as its own process, as a person does. */
export function startCli(home: string, args: readonly string[], env: Readonly<Record<string, string>> = {}): CliRun {
  const child = spawn(exai, args, { env: { ...process.env, EXAI_HOME: home, ...env }, stdio: "pipe" });
  const got = { stdout: "", stderr: "" };
  const checks = new Set<() => void>();
  for (const stream of ["stdout", "stderr"] as const) {
    child[stream].on("data", (data: Buffer) => {
      got[stream] += data.toString("latin1");
      for (const check of checks) check();
    });
  }
  child.stdin.on("error", () => undefined); // it has ended
  const result = new Promise<CliResult>((done, fail) => {
    child.once("error", fail);
    child.once("close", (code, signal) => done({ code, signal, ...got }));
  });
  return {
    pid: child.pid ?? 0,
    result,
    stdout: () => got.stdout,
    kill: (signal) => void child.kill(signal),
    write: (data) => void child.stdin.write(data),
    end: () => void child.stdin.end(),
    closeOutput: () => void child.stdout.destroy(),
    until: (text) =>
      new Promise((done, fail) => {
        const check = () => {
          if (got.stdout.includes(text) || got.stderr.includes(text)) done();
        };
        checks.add(check);
        check();
        void result.then(({ stderr }) => fail(new Error(`it ended before '${text}': ${stderr}`)));
      }),
  };
}

/** Runs it to its end; `input` is its whole standard input. */
export function cli(home: string, args: readonly string[], input: string | Uint8Array = ""): Promise<CliResult> {
  const run = startCli(home, args);
  run.write(input);
  run.end();
  return run.result;
}
