import { execFileSync } from "node:child_process";
import { mkdirSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { newLifetimeId, newWorkspaceId } from "@exai/base";
import { NodeError } from "@exai/node";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { sh } from "../../packages/machine/src/contract/guest.ts";
import type { MachineDriver } from "./machine-driver.ts";

const diskMib = 128;
const scratchMib = 48;

/** What happens to microVMs of one driver when the host's disk under them is full: a small file system stands in its place. */
export function describeFullDisk(name: string, makeDriver: () => Promise<MachineDriver>): void {
  describe(`${name} on a host whose disk is full`, () => {
    let driver: MachineDriver;
    let scratch: string;
    const filler = () => join(scratch, "filler");
    const never = new AbortController().signal;
    const code = (wanted: string) =>
      expect.objectContaining({ code: wanted, message: expect.stringMatching(/the host's disk is full/) });
    const calls = () => driver.host.agent().handlers(driver.host.tenants[0]);

    beforeAll(async () => {
      driver = await makeDriver();
      scratch = driver.host.config.vmsFolder;
      mkdirSync(scratch, { recursive: true });
      const options = `size=${scratchMib}m,mode=0711`;
      execFileSync("mount", ["-t", "tmpfs", "-o", options, "exai-test-scratch", scratch]);
    });
    afterAll(async () => {
      rmSync(filler(), { force: true });
      for (const { workspace } of (await calls().list({}, never)).vms) await calls().remove({ workspace }, never);
      execFileSync("umount", [scratch]);
      await driver[Symbol.asyncDispose]();
    });

    const fill = (): void => {
      const { bavail, bsize } = statfsSync(scratch);
      writeFileSync(filler(), Buffer.alloc(bavail * bsize));
      expect(() => writeFileSync(join(scratch, "more"), "x".repeat(8192))).toThrow(/ENOSPC/);
      rmSync(join(scratch, "more"));
    };

    it("lets a guest's write fail; guest, host and its neighbour go on, and nothing is left", async () => {
      const vms = await Promise.all([0, 1].map(() => driver.launch({ cpus: 1, memoryMib: 128, diskMib })));
      for (const [at, vm] of vms.entries()) {
        using guest = await vm.dial();
        if (at === 0) {
          // Past the cache: what is in it when a file system is given up keeps its writer waiting until it is killed.
          const wrote = await sh(guest, "dd if=/dev/zero of=/root/big bs=1M count=100 oflag=direct 2>&1");
          expect(wrote.exited?.code).not.toBe(0);
          expect(wrote.stdout).toMatch(/error|No space|Read-only/i);
        }
        expect((await sh(guest, "echo here")).stdout).toBe("here\n");
      }
      await Promise.all(vms.map(({ machine }) => machine.destroy()));
      expect(await driver.leftovers()).toEqual([]);
      expect(statfsSync(scratch).bavail).toBe(statfsSync(scratch).blocks);
    });

    it("refuses to prepare one, and leaves nothing of it", async () => {
      fill();
      await expect(calls().prepare({ workspace: newWorkspaceId(), diskMib }, never)).rejects.toEqual(code("disk-full"));
      rmSync(filler());
      expect(await driver.leftovers()).toEqual([]);
    });

    it("refuses to launch one that was prepared; it starts when there is room again", async () => {
      const workspace = newWorkspaceId();
      await calls().prepare({ workspace, diskMib }, never);
      const before = (await driver.leftovers()).toSorted();
      fill();
      const request = { workspace, lifetime: newLifetimeId(), ...driver.plan({ cpus: 1, memoryMib: 128 }) };
      const refused = await calls()
        .launch(request, never)
        .catch((error: unknown) => error);
      expect(refused).toBeInstanceOf(NodeError);
      expect(refused).toEqual(code("disk-full"));
      expect((await calls().awaitExit({ workspace, timeoutMs: 0 }, never)).state).toBe("prepared");
      rmSync(filler());
      expect((await driver.leftovers()).toSorted()).toEqual(before);
      expect((await calls().launch(request, never)).state).toBe("running");
      await calls().remove({ workspace }, never);
      expect(await driver.leftovers()).toEqual([]);
    });
  });
}
