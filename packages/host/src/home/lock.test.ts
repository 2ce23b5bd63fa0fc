import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { lockFile, lockHome } from "./lock.ts";

let home: string;
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), "exai-lock-"));
});
afterEach(() => rmSync(home, { recursive: true, force: true }));

it("is held by one at a time, and nobody but root may open it", async () => {
  const lock = await lockHome(home);
  await expect(lockHome(home)).rejects.toThrow(/another 'exai up' runs/);
  expect(statSync(lockFile(home)).mode & 0o777).toBe(0o600);
  lock[Symbol.dispose]();
  (await lockHome(home))[Symbol.dispose]();
});

it("is not in a name that any user of the machine can take first", async () => {
  const squatted = createServer();
  squatted.listen(`\0exai-${createHash("sha256").update(home).digest("hex").slice(0, 32)}`);
  await once(squatted, "listening");
  try {
    (await lockHome(home))[Symbol.dispose]();
  } finally {
    squatted.close();
  }
});

it("is waited for as long as it was asked to", async () => {
  const lock = await lockHome(home);
  setTimeout(() => lock[Symbol.dispose](), 100);
  (await lockHome(home, 5_000))[Symbol.dispose]();
});

it("is free when its holder is killed, though a child of the holder lives on", async () => {
  const script = `
    import { spawn } from "node:child_process";
    const { lockHome } = await import(${JSON.stringify(join(import.meta.dirname, "lock.ts"))});
    await lockHome(${JSON.stringify(home)});
    console.log(spawn("/usr/bin/sleep", ["60"], { detached: true, stdio: "ignore" }).pid);
    setInterval(() => {}, 1000);`;
  const holder = spawn(process.execPath, ["--input-type=module", "--eval", script], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [line] = (await once(holder.stdout, "data")) as [Buffer];
  const child = Number(line.toString());
  try {
    await expect(lockHome(home)).rejects.toThrow(/another 'exai up' runs/);
    holder.kill("SIGKILL");
    await once(holder, "exit");
    (await lockHome(home))[Symbol.dispose]();
    expect(process.kill(child, 0)).toBe(true);
  } finally {
    process.kill(child, "SIGKILL");
  }
});

it("of a home that was removed meanwhile is a lock on nothing, and not given", async () => {
  const lock = await lockHome(home);
  const waiting = lockHome(home, 5_000);
  await new Promise((done) => setTimeout(done, 50));
  rmSync(home, { recursive: true });
  lock[Symbol.dispose]();
  await expect(waiting).rejects.toMatchObject({ code: "home" });
});
