import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connectQmp } from "@exai/machine";
import { describe, expect, it } from "vitest";
import { qemuDriver } from "./machine-qemu.ts";

describe("the monitor of a real VM", () => {
  it("stops it, lets it go on, takes memory back, ends it", async () => {
    await using driver = await qemuDriver("base");
    const launched = await driver.launch({ cpus: 1, memoryMib: 256, diskMib: 64 });
    await using machine = launched.machine;
    using guest = await launched.dial();
    using monitor = await connectQmp(launched.monitorSocket);
    expect(await monitor.status()).toBe("running");
    await monitor.execute({ execute: "stop" });
    expect(await monitor.status()).toBe("paused");
    await monitor.execute({ execute: "cont" });
    const free = async () => Number((await guest.machine.metrics({})).memoryAvailableBytes) / 2 ** 20;
    const before = await free();
    await monitor.execute({ execute: "balloon", arguments: { value: 160 << 20 } });
    for (let turn = 0; turn < 100 && (await monitor.balloon()) > 165 << 20; turn++)
      await new Promise((r) => setTimeout(r, 100));
    expect(await monitor.balloon()).toBeLessThanOrEqual(165 << 20);
    expect(before - (await free())).toBeGreaterThan(60);
    await monitor.execute({ execute: "quit" });
    expect(await machine.awaitExit(10_000)).toEqual({ code: 0 });
  });
});

describe("a monitor that lies", () => {
  const cases: Record<string, string[]> = {
    "no QMP": ["hello\n"],
    "an endless line": [`{"QMP": "${"x".repeat(70_000)}`],
    "another's answer": ['{"QMP": {}}\n', '{"id": 99, "return": {}}\n'],
    "the end": [],
  };
  it.each(Object.keys(cases))("%s", async (name) => {
    const folder = mkdtempSync(join(tmpdir(), "exai-qmp-"));
    const server: Server = createServer((socket) => {
      socket.on("error", () => undefined).resume();
      for (const line of cases[name] ?? []) socket.write(line);
      if (name === "the end") socket.end();
    });
    await new Promise<void>((resolve) => server.listen(join(folder, "qmp"), resolve));
    try {
      await expect(connectQmp(join(folder, "qmp"))).rejects.toMatchObject({ code: "monitor" });
    } finally {
      await new Promise((resolve) => server.close(resolve));
      rmSync(folder, { recursive: true });
    }
  });
});
