import { spawn } from "node:child_process";
import { createInterface } from "node:readline";

export interface Ran {
  exitCode: number;
  lines: string[];
}

/** Runs a suite's program, lets its output through and keeps it. Never fails: a program that can't start is exit 127. */
export function run(argv: readonly [string, ...string[]], cwd: string): Promise<Ran> {
  const [program, ...args] = argv;
  const child = spawn(program, args, { cwd, stdio: ["ignore", "pipe", "pipe"] });
  const lines: string[] = [];
  const take = (line: string) => {
    lines.push(line);
    process.stdout.write(`${line}\n`);
  };
  createInterface({ input: child.stdout }).on("line", take);
  createInterface({ input: child.stderr }).on("line", take);
  return new Promise((done) => {
    child.once("error", (error) => {
      take(String(error));
      done({ exitCode: 127, lines });
    });
    child.once("close", (code) => done({ exitCode: code ?? 1, lines }));
  });
}
