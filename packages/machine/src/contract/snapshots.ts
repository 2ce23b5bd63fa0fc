import { closeSync, openSync, readFileSync, readSync, statSync, truncateSync, writeFileSync, writeSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import type { SnapshotRef } from "@exai/api/host";
import { errorCode } from "@exai/base";
import { afterAll, beforeAll, expect, it } from "vitest";
import { channelFault, type GuestSession } from "../guest/index.ts";
import type { ContractDriver, Launched, Saved } from "./driver.ts";
import { bytes, readClock, sh } from "./guest.ts";

const small = { cpus: 1, memoryMib: 128, diskMib: 64 };

/**
 * A program that, as soon as it may run again, writes down the time and what its random numbers are. It is in the middle
 * of it when it is saved.
 */
const witness = `i=0; while :; do i=$((i+1)); echo "$i $(date +%s%N) $(od -An -N8 -tx1 /dev/urandom | tr -d ' ')"; done > /dev/shm/log`;

interface Line {
  turn: number;
  unixMs: number;
  random: string;
}

async function witnessed(guest: GuestSession): Promise<Line[]> {
  const { stdout } = await sh(guest, "cat /dev/shm/log");
  return stdout
    .split("\n")
    .slice(0, -1)
    .map((line) => {
      const [turn = "", time = "", random = ""] = line.split(" ");
      return { turn: Number(turn), unixMs: Number(time.slice(0, -6)), random };
    });
}

export function describeSnapshots(driver: () => ContractDriver): void {
  let source: Launched;
  let ref: SnapshotRef;
  let before: Line[];
  let bootId: string;
  let savedMs: number;

  beforeAll(async () => {
    source = await driver().launch(small);
    using guest = await source.dial();
    source.machine.ready();
    bootId = guest.hello.bootId;
    await sh(guest, "echo kept > /root/file; sync; mkdir -p /dev/shm");
    await guest.processes.start({ argv: ["sh", "-c", witness].map(bytes), user: "root" });
    await delay(500);
  });
  afterAll(() => source?.machine.destroy());

  it("stands still while it is paused, and goes on with the right time", async () => {
    using guest = await source.dial();
    await source.machine.pause(guest);
    expect(source.machine.state).toEqual({ phase: "paused" });
    await delay(2000);
    await source.machine.resume(guest);
    expect(source.machine.state).toEqual({ phase: "running" });
    const clock = await readClock(guest);
    expect(Math.abs(clock.guestMs - clock.hostMs)).toBeLessThan(1000 + clock.errorMs);
    const lines = await witnessed(guest);
    const gaps = lines.map((line, at) => line.unixMs - (lines[at - 1]?.unixMs ?? line.unixMs));
    expect(Math.max(...gaps)).toBeGreaterThan(1500);
  });

  it("is saved: its VMM ends, what it was saved by is written down", async () => {
    using guest = await source.dial();
    before = await witnessed(guest);
    await source.machine.pause(guest);
    ref = await source.machine.save();
    savedMs = Date.now();
    expect(source.machine.state).toMatchObject({ phase: "stopped", exit: { signal: 9 } });
    const { record, files } = driver().saved(ref);
    expect(JSON.parse(readFileSync(record, "utf8"))).toMatchObject({
      origin: {
        vmm: { version: expect.stringMatching(/\d+\.\d+/), sha256: expect.stringMatching(/^[0-9a-f]{64}$/) },
        cpu: { vendor: expect.any(String), flagsSha256: expect.any(String) },
        machine: { cpus: 1, memoryMib: 128 },
      },
      files: { state: { sha256: expect.stringMatching(/^[0-9a-f]{64}$/) } },
    });
    for (const file of files) expect(statSync(file)).toMatchObject({ uid: 0, mode: 0o100444 });
  });

  it("goes on elsewhere, twice: programs, disk, clock and randomness are as a user wants them", async () => {
    const there = await driver().leftovers();
    await delay(3000);
    const clones: Line[][] = [];
    for (let round = 0; round < 2; round++) {
      const startedMs = Date.now();
      const clone = await driver().load(small, ref);
      expect(clone.uid).not.toBe(source.uid);
      using guest = await clone.dial();
      clone.machine.ready();
      expect(guest.hello.bootId).toBe(bootId);
      expect((await sh(guest, "cat /root/file")).stdout).toBe("kept\n");
      await delay(1000);
      const lines = await witnessed(guest);
      // Its own turns go on where they were, and nothing that it wrote after the load is of the time before.
      expect(lines.map((line) => line.turn)).toEqual(lines.map((_, at) => at + 1));
      const fresh = lines.filter((line) => line.unixMs > savedMs + 1000);
      expect(fresh.length).toBeGreaterThan(0);
      for (const line of fresh) expect(line.unixMs).toBeGreaterThan(startedMs - 1000);
      const stale = lines.slice(before.length).filter((line) => line.unixMs > savedMs && !fresh.includes(line));
      expect(stale).toEqual([]);
      clones.push(fresh);
      await clone.machine.destroy();
    }
    // One line was half written when the state was saved; its random part may have been drawn before.
    const [first = [], second = []] = clones.map((lines) => lines.slice(1).map((line) => line.random));
    expect(first.filter((random) => second.includes(random))).toEqual([]);
    expect(await driver().leftovers()).toEqual(there);
  });

  /** Damages it, sees it refused with this code, and mends it. */
  async function refused(code: string, damage: (saved: Saved) => () => void): Promise<void> {
    const there = await driver().leftovers();
    const mend = damage(driver().saved(ref));
    try {
      const error = await driver()
        .load(small, ref)
        .catch((cause: Error) => cause);
      expect(errorCode((error as Error).cause)).toBe(code);
      expect(((error as Error).cause as Error).message).toMatch(
        /^the snapshot can't be loaded: .{5,200}$|^there is no such snapshot/,
      );
    } finally {
      mend();
    }
    expect(await driver().leftovers()).toEqual(there);
  }

  const flip = (file: string, at: number) => {
    const fd = openSync(file, "r+");
    const byte = Buffer.alloc(1);
    readSync(fd, byte, 0, 1, at);
    const turn = () => writeSync(fd, Buffer.from([(byte[0] ?? 0) ^ 1]), 0, 1, at);
    turn();
    return () => {
      writeSync(fd, byte, 0, 1, at);
      closeSync(fd);
    };
  };

  it("is refused when a bit of any of its files is another, or its end is missing", async () => {
    driver().saved(ref).unseal();
    for (const file of driver().saved(ref).files) {
      const { size } = statSync(file);
      await refused("snapshot-broken", () => flip(file, Math.floor(size / 2)));
      const last = readFileSync(file).subarray(size - 1);
      await refused("snapshot-broken", () => {
        truncateSync(file, size - 1);
        return () => writeFileSync(file, last, { flag: "a" });
      });
    }
  });

  const edits: Record<string, [RegExp, string]> = {
    "another processor": [/"model":"[^"]*"/, '"model":"999"'],
    "other features of the processor": [/"flagsSha256":"../, '"flagsSha256":"00'],
    "another VMM": [/("vmm":\{[^}]*"sha256":")../, "$100"],
    "another kernel": [/("blob":")../, "$100"],
    "another size": [/"memoryMib":128/, '"memoryMib":129'],
    "other devices": [/"devicesSha256":"../, '"devicesSha256":"00'],
  };
  it.each(Object.keys(edits))("is refused when it was made by %s", async (name) => {
    await refused("snapshot-mismatch", ({ record }) => {
      const text = readFileSync(record, "utf8");
      const [pattern, other] = edits[name] ?? [/$^/, ""];
      const edited = text.replace(pattern, other);
      expect(edited).not.toBe(text);
      writeFileSync(record, edited);
      return () => writeFileSync(record, text);
    });
  });

  it("can't be saved where there is no memory for it, and goes on then", async () => {
    const machine = await driver().launch(small);
    await using _ = machine.machine;
    using guest = await machine.dial();
    machine.machine.ready();
    await machine.machine.pause(guest);
    const error = await driver()
      .attach(machine, 1 << 18)
      .catch((cause: unknown) => cause);
    expect(error).toMatchObject({ code: "no-memory", message: expect.stringMatching(/MiB of memory are free/) });
    await machine.machine.resume(guest);
    expect((await sh(guest, "echo on")).stdout).toBe("on\n");
  });

  it("does not fit into a volume that is too small, and goes on then", async () => {
    const machine = await driver().launch(small);
    await using _ = machine.machine;
    using guest = await machine.dial();
    machine.machine.ready();
    await machine.machine.pause(guest);
    const { lifetime } = await driver().attach(machine, 4);
    {
      using monitor = await machine.monitor();
      await expect(monitor.save()).rejects.toMatchObject({ code: "monitor" });
    }
    guest[Symbol.dispose]();
    await machine.machine.resume();
    using again = await machine.dial();
    machine.machine.ready();
    expect((await sh(again, "echo on")).stdout).toBe("on\n");
    // What is left of it stands in nobody's way.
    await driver().drop({ workspace: machine.workspace, lifetime });
    await machine.machine.pause(again);
    await machine.machine.save();
  });

  it("loses a session that is not the last one before it is copied", async () => {
    const machine = await driver().launch(small);
    await using _ = machine.machine;
    using guest = await machine.dial();
    machine.machine.ready();
    guest[Symbol.dispose]();
    expect(channelFault(await machine.machine.pause(guest).catch((cause: unknown) => cause))).toBeDefined();
    using again = await machine.dial();
    expect((await sh(again, "echo on")).stdout).toBe("on\n");
  });
}
