import { createHash, randomBytes } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { Code } from "@connectrpc/connect";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { channelFault, type GuestSession } from "../guest/index.ts";
import type { ContractDriver, Launched } from "./driver.ts";
import { bytes, readClock, sh, talk } from "./guest.ts";
import { describeSnapshots } from "./snapshots.ts";

const small = { cpus: 1, memoryMib: 256, diskMib: 512 };

/** What every VMM driver must hold, on real machines. */
export function describeMachineContract(name: string, makeDriver: () => Promise<ContractDriver>): void {
  describe(`the machine contract, ${name}`, () => {
    let driver: ContractDriver;
    beforeAll(async () => {
      driver = await makeDriver();
    });
    afterAll(() => driver[Symbol.asyncDispose]());
    describe("a running machine", () => describeRunning(() => driver));
    describe("a machine's life", () => describeLife(() => driver));
    describe("its snapshots", () => describeSnapshots(() => driver));
  });
}

function describeRunning(driver: () => ContractDriver): void {
  let launched: Launched;
  let guest: GuestSession;
  beforeAll(async () => {
    launched = await driver().launch(small);
    guest = await launched.dial();
    launched.machine.ready();
  });
  afterAll(async () => {
    guest[Symbol.dispose]();
    await launched.machine.destroy();
  });

  it("has booted: it says so on its console and on its channel", async () => {
    expect(launched.machine.state).toEqual({ phase: "running" });
    expect(guest.hello).toMatchObject({ contract: 1 });
    expect(guest.hello.readyUs).toBeGreaterThan(guest.hello.initUs);
    const console = await launched.console();
    expect(console).toMatch(/^exai-guest: init /m);
    expect(console).toMatch(/^exai-guest: ready/m);
  });

  it("runs programs: both outputs apart, exit codes, signals", async () => {
    const both = await sh(guest, "echo out; echo err >&2; exit 7");
    expect(both).toMatchObject({ stdout: "out\n", stderr: "err\n", exited: { code: 7 } });
    expect((await sh(guest, "kill -SEGV $$")).exited).toMatchObject({ signal: 11 });
    const missing = guest.processes.start({ argv: [bytes("/no/such/program")], user: "root" });
    await expect(missing).rejects.toMatchObject({ code: Code.NotFound });
  });

  it("delivers stdin and signals to a process that was started before", async () => {
    const { process } = await guest.processes.start({ argv: [bytes("cat")], stdin: true, user: "root" });
    const sent = await guest.processes.sendInput({ process, offset: 0n, data: bytes("hello") });
    expect(sent.offset).toBe(5n);
    await guest.processes.closeStdin({ process });
    expect(await guest.processes.wait({ process })).toMatchObject({ code: 0 });
    const sleeper = await guest.processes.start({ argv: ["sleep", "1000"].map(bytes), user: "root" });
    await guest.processes.signal({ process: sleeper.process, signal: 15 });
    expect(await guest.processes.wait({ process: sleeper.process })).toMatchObject({ signal: 15 });
  });

  it("keeps a file's bytes, mode and time", async () => {
    const content = randomBytes(3 << 20);
    async function* frames() {
      const value = { path: bytes("/root/file"), context: { user: "root" }, mode: 0o640, mtimeNs: 10n ** 18n };
      yield { frame: { case: "open" as const, value } };
      for (let at = 0; at < content.length; at += 65_536) {
        yield { frame: { case: "data" as const, value: content.subarray(at, at + 65_536) } };
      }
    }
    const info = await guest.files.write(frames());
    expect(info).toMatchObject({ sizeBytes: BigInt(content.length), mode: 0o640, mtimeNs: 10n ** 18n });
    const hash = createHash("sha256");
    for await (const { data } of guest.files.read({ path: bytes("/root/file"), context: { user: "root" } })) {
      hash.update(data);
    }
    const wanted = createHash("sha256").update(content).digest("hex");
    expect(hash.digest("hex")).toBe(wanted);
    expect((await sh(guest, "sha256sum < /root/file")).stdout).toContain(wanted);
  });

  it("connects to a port of the guest, and says when nothing listens", async () => {
    const server =
      "import socket\ns=socket.create_server(('127.0.0.1',4711))\nprint('up',flush=True)\nc,_=s.accept()\n";
    const echo = `${server}d=b''\nwhile p:=c.recv(4096): d+=p\nc.sendall(d.upper())\n`;
    const run = guest.processes.run({ argv: ["python3", "-c", echo].map(bytes), user: "root" });
    for await (const { event } of run) {
      if (event.case === "stdout") expect(await talk(guest, 4711, "hello")).toBe("HELLO");
      if (event.case === "exited") expect(event.value.code).toBe(0);
    }
    await expect(talk(guest, 4712, "x")).rejects.toMatchObject({ code: Code.Unavailable });
  });

  it("reconnects: a process outlives the connection, and its output is there", async () => {
    const script = "echo one; sleep 1; echo two; sleep 1000";
    const { process } = await guest.processes.start({ argv: ["sh", "-c", script].map(bytes), user: "root" });
    guest[Symbol.dispose]();
    // The hang-up of the old connection may reach a guest only after it has answered the new one, which then breaks as
    // well (guest-channel.md, "Dialling"): who keeps a session dials again.
    for (let seen = "", tries = 0; seen !== "one\ntwo\n"; tries++) {
      guest = await launched.dial();
      seen = "";
      try {
        for await (const { event } of guest.processes.attach({ process })) {
          if (event.case === "stdout") seen += Buffer.from(event.value.data).toString();
          if (seen === "one\ntwo\n") break;
        }
        expect(seen).toBe("one\ntwo\n");
      } catch (error) {
        if (channelFault(error)?.code !== "channel-lost" || tries > 0) throw error;
        guest[Symbol.dispose]();
      }
    }
    await guest.processes.signal({ process, signal: 9 });
    expect(await guest.processes.wait({ process })).toMatchObject({ signal: 9 });
  });

  it("has the disk and the memory that were asked for", async () => {
    const metrics = await guest.machine.metrics({});
    const mib = (value: bigint) => Number(value) / 2 ** 20;
    expect(mib(metrics.diskTotalBytes)).toBeGreaterThan(small.diskMib * 0.85);
    expect(mib(metrics.diskTotalBytes)).toBeLessThanOrEqual(small.diskMib);
    expect(mib(metrics.memoryTotalBytes)).toBeGreaterThan(small.memoryMib * 0.75);
    expect(mib(metrics.memoryTotalBytes)).toBeLessThanOrEqual(small.memoryMib);
    const full = await sh(guest, "head -c 1G /dev/zero > /root/big; echo $?; rm /root/big");
    expect(full.stdout).toBe("1\n");
    expect(full.stderr).toMatch(/No space left/);
  });

  it("has the host's time, and its clock runs as fast", async () => {
    const first = await readClock(guest);
    expect(Math.abs(first.guestMs - first.hostMs)).toBeLessThan(1000);
    await delay(3000);
    const second = await readClock(guest);
    const ratio = (second.guestMs - first.guestMs) / (second.hostMs - first.hostMs);
    const uncertainty = (first.errorMs + second.errorMs) / (second.hostMs - first.hostMs);
    expect(Math.abs(ratio - 1)).toBeLessThan(0.05 + uncertainty);
    expect(uncertainty).toBeLessThan(0.1);
    // A timer of the guest's kernel takes as long as it says.
    const slept = (await sh(guest, "sleep 1")).exited?.wallUs ?? 0n;
    expect(Number(slept) / 1e6).toBeGreaterThan(0.95);
    expect(Number(slept) / 1e6).toBeLessThan(2);
  });

  it("has no way out: no network card but loopback", async () => {
    expect((await sh(guest, "ls /sys/class/net")).stdout.trim()).toBe("lo");
  });
}

function describeLife(driver: () => ContractDriver): void {
  it("ends at once when it is killed, and open calls end with it", async () => {
    const launched = await driver().launch(small);
    using guest = await launched.dial();
    launched.machine.ready();
    const wait = sh(guest, "sleep 1000").catch((error: unknown) => error);
    await delay(100);
    const exit = await launched.machine.kill();
    expect(exit).toEqual({ signal: 9 });
    expect(launched.machine.state).toEqual({ phase: "stopped", exit });
    expect(channelFault(await wait)).toMatchObject({ code: "channel-lost" });
    await launched.machine.destroy();
    expect(await driver().leftovers()).toEqual([]);
  });

  it("ends well when the guest shuts down", async () => {
    const launched = await driver().launch(small);
    using guest = await launched.dial();
    launched.machine.ready();
    expect(await launched.machine.awaitExit(10)).toBeUndefined();
    await guest.machine.shutdown({ graceMs: 1000 });
    expect(await launched.machine.awaitExit(20_000)).toEqual({ code: 0 });
    await launched.machine.destroy();
    expect(await driver().leftovers()).toEqual([]);
  });

  it("lives beside another without noticing it", async () => {
    const [one, two] = await Promise.all([driver().launch(small), driver().launch({ ...small, cpus: 2 })]);
    using first = await one.dial();
    using second = await two.dial();
    expect(first.hello.bootId).not.toBe(second.hello.bootId);
    await sh(first, "echo secret > /root/mine");
    expect((await sh(second, "cat /root/mine")).stderr).toMatch(/No such file/);
    expect((await sh(first, "nproc")).stdout).toBe("1\n");
    expect((await sh(second, "nproc")).stdout).toBe("2\n");
    const random = await Promise.all([first, second].map((guest) => sh(guest, "od -An -N16 -tx1 /dev/urandom")));
    expect(random[0]?.stdout).not.toBe(random[1]?.stdout);
    await one.machine.kill();
    expect((await sh(second, "echo alive")).stdout).toBe("alive\n");
    await Promise.all([one.machine.destroy(), two.machine.destroy()]);
    expect(await driver().leftovers()).toEqual([]);
  });
}
