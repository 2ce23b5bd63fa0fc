import { launchRequest } from "@exai/api/host";
import { newLifetimeId, newWorkspaceId } from "@exai/base";
import { describe, expect, it } from "vitest";
import { image } from "../plan.fixture.ts";
import { planQemu, translationCacheMib } from "./plan.ts";

const size = { cpus: 2, memoryMib: 512 };
const tcg = { kind: "tcg", tscKhz: 2_596_096 } as const;
const after = (argv: readonly string[], flag: string) => argv.filter((_, at) => argv[at - 1] === flag);

describe("planQemu", () => {
  it("is a launch request that the node agent takes", () => {
    for (const accelerator of [tcg, { kind: "kvm" } as const]) {
      const plan = planQemu(image, size, accelerator);
      launchRequest.parse({ ...plan, workspace: newWorkspaceId(), lifetime: newLifetimeId() });
      expect(plan.kvm).toBe(accelerator.kind === "kvm");
    }
  });

  it("gives the guest these devices and no other", () => {
    const devices = after(planQemu(image, size, tcg).argv, "-device").map((device) => device.split(",")[0]);
    expect(devices).toEqual([
      "virtio-blk-device",
      "virtio-blk-device",
      "virtio-serial-device",
      "virtserialport",
      "virtio-rng-device",
      "virtio-balloon-device",
    ]);
    const text = planQemu(image, size, tcg).argv.join(" ");
    expect(text).not.toMatch(/-net|-nic|vhost|vsock|-virtfs|-fsdev/);
  });

  it("keeps the base read-only and the sandbox on", () => {
    const { argv } = planQemu(image, size, { kind: "kvm" });
    expect(after(argv, "-drive")[0]).toMatch(/file=\/vm\/rootfs,readonly=on/);
    expect(after(argv, "-sandbox")).toEqual([
      "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
    ]);
    expect(argv).toContain("-nodefaults");
    // The node agent finds the threads of virtual CPUs by their names.
    expect(after(argv, "-name")).toEqual(["exai,debug-threads=on"]);
    expect(argv).toContain("-no-user-config");
  });

  it("tells the kernel the clock only where it is emulated, and ACPI only for the stock kernel", () => {
    const words = (flavor: "exai" | "stock", kvm: boolean) =>
      after(planQemu({ ...image, kernelFlavor: flavor }, size, kvm ? { kind: "kvm" } : tcg).argv, "-append")[0];
    expect(words("exai", false)).toContain("tsc_early_khz=2596096 tsc=reliable no_timer_check");
    expect(words("exai", false)).toContain("acpi=off");
    expect(words("exai", true)).not.toContain("tsc");
    expect(words("stock", false)).not.toContain("acpi=off");
    expect(after(planQemu({ ...image, kernelFlavor: "stock" }, size, tcg).argv, "-M")[0]).toContain("acpi=on");
  });

  it("grows the translation cache with the guest, between bounds", () => {
    expect([96, 128, 512, 1 << 18].map(translationCacheMib)).toEqual([16, 16, 64, 256]);
  });
});
