import { newWorkspaceId, systemClock } from "@exai/base";
import { expect, test } from "vitest";
import type { TenantAudit } from "./audit.ts";
import { Capacity } from "./capacity.ts";
import { HostedVm, type HostedVmOptions } from "./hosted-vm.ts";

/** Notes what was asked of the node agent and the audit log, and answers as if all went well. */
function vmOf(options: {
  production: boolean;
  kernelFlavor: "exai" | "stock";
  vmm?: HostedVmOptions["vmm"];
  volumesMib?: number;
  cores?: number;
}) {
  const asked: string[] = [];
  const call = async (method: string) => {
    if (method === "floor") return { enforced: options.cores !== undefined, cores: options.cores };
    asked.push(method);
    return { state: "running", notEnforced: [], volumesMib: options.volumesMib };
  };
  const capacity = new Capacity({ memoryMib: 4096, vms: 1 });
  const audit = {
    grant: async (action: string) => void asked.push(action),
    contain: (action: string) => void asked.push(action),
  };
  const vm = new HostedVm({
    workspace: newWorkspaceId(),
    spec: { image: "ab".repeat(32), cpus: 1, memoryMib: 128, diskMib: 64, ttlSeconds: 0, labels: {} },
    admittedMs: 0,
    clock: systemClock,
    node: { call } as unknown as HostedVmOptions["node"],
    channel: { call } as unknown as HostedVmOptions["channel"],
    audit: audit as unknown as TenantAudit,
    capacity,
    loadImage: async (digest) => ({
      digest,
      name: "base",
      kernel: "01".repeat(32),
      kernelFlavor: options.kernelFlavor,
      initramfs: "02".repeat(32),
      rootfs: "03".repeat(32),
      rootfsType: "erofs",
      commandLine: "",
      paths: { kernel: "", initramfs: "", rootfs: "" },
    }),
    vmm: options.vmm ?? "qemu",
    accelerator: { kind: "kvm" },
    production: options.production,
  });
  return { vm, asked, capacity };
}

test("what a volume may take is memory that is promised", async () => {
  const without = vmOf({ production: true, kernelFlavor: "exai" });
  const beside = vmOf({ production: true, kernelFlavor: "exai", volumesMib: 160 });
  for (const { vm } of [without, beside]) await vm.isRunning();
  expect(beside.capacity.promisedMib - without.capacity.promisedMib).toBe(160);
  // A snapshot stays in memory when its VM has ended, and goes with the workspace.
  await beside.vm.kill("paused");
  expect(beside.capacity.promisedMib).toBe(160);
  await beside.vm.remove();
  expect(beside.capacity.promisedMib).toBe(0);
});

test("production refuses the distribution's kernel before anything is made or witnessed", async () => {
  const { vm, asked } = vmOf({ production: true, kernelFlavor: "stock" });
  await expect(vm.launch()).rejects.toMatchObject({ code: "admission", message: expect.stringMatching(/kernel/) });
  expect(asked).toEqual([]);
});

test("Firecracker refuses the distribution's kernel, which has no driver for its channel", async () => {
  const { vm, asked } = vmOf({ production: false, kernelFlavor: "stock", vmm: "firecracker" });
  await expect(vm.launch()).rejects.toMatchObject({
    code: "admission",
    message: expect.stringMatching(/our own kernel/),
  });
  expect(asked).toEqual([]);
});

test.each([
  { production: true, kernelFlavor: "exai", vmm: "firecracker" },
  { production: true, kernelFlavor: "exai" },
  { production: false, kernelFlavor: "stock" },
] as const)("%j boots, and only after its event", async (options) => {
  const { vm, asked } = vmOf(options);
  await vm.launch();
  expect(asked).toEqual(["vm.boot", "prepare", "launch"]);
});

test("what finds no core is refused before anything is made or witnessed, and boots where no core is held", async () => {
  const { vm, asked } = vmOf({ production: false, kernelFlavor: "exai", cores: 0 });
  await expect(vm.launch()).rejects.toMatchObject({
    code: "admission",
    message: "1 virtual CPU needs a core of its own: 0 of 0 are free on this host; stop a workspace first",
  });
  expect(asked).toEqual([]);
  const unfloored = vmOf({ production: false, kernelFlavor: "exai" });
  await unfloored.vm.launch();
});
