import { existsSync } from "node:fs";
import { arch, platform } from "node:os";
import { join } from "node:path";
import type { HostErrorCode } from "../errors.ts";
import { run } from "../exec.ts";
import { launcherPath } from "../supervisor/launcher-path.ts";
import type { Check } from "./check.ts";

/** What a host is asked about itself; tests give their own. */
export const thisSystem = () => ({
  platform: platform() as string,
  arch: arch() as string,
  uid: process.getuid?.() ?? -1,
  qemu: "/usr/bin/qemu-system-x86_64",
  flock: "/usr/bin/flock",
  launcher: launcherPath(),
});
export type HostSystem = ReturnType<typeof thisSystem>;

/** A thing without which nothing can start: `exai up` refuses with what it found and the remedy, `exai doctor` lists it. */
export interface Requirement {
  readonly id: string;
  readonly code: HostErrorCode;
  readonly ok: boolean;
  readonly found: string;
  readonly reason: string;
  readonly remedy: string;
  /** A program of which `exai doctor` shows what it says of itself. */
  readonly version?: readonly [string, ...string[]];
}

/** In the order in which a person would set a machine up. */
export function requirements(imageStore: string, system: HostSystem = thisSystem()): Requirement[] {
  const { qemu, flock, launcher } = system;
  return [
    {
      id: "platform",
      code: "platform",
      ...said(system.platform === "linux", "Linux", `exai hosts run Linux, this is ${system.platform}`),
      reason: "a microVM is contained by Linux: namespaces, cgroups, seccomp, KVM",
      remedy: "use a Linux machine",
    },
    {
      id: "architecture",
      code: "platform",
      ...said(system.arch === "x64", "x86_64", `this build runs on x86_64, this machine is ${system.arch}`),
      reason: "images and the launcher are built for x86_64",
      remedy: "use an x86_64 machine",
    },
    {
      id: "root",
      code: "not-root",
      ...said(system.uid === 0, "uid 0", "starting a stack needs root, which gives each microVM a user of its own"),
      reason: "each microVM gets a user and namespaces of its own, which only root can give",
      remedy: "use sudo",
    },
    {
      id: "qemu",
      code: "missing",
      ...said(existsSync(qemu), qemu, "QEMU is not installed"),
      reason: "QEMU runs the microVMs where Firecracker can't",
      remedy: "run 'make quickstart', or: apt-get install qemu-system-x86",
      version: [qemu, "--version"],
    },
    {
      id: "flock",
      code: "missing",
      ...said(existsSync(flock), flock, "flock is not installed"),
      reason: "with it a home is locked, so that two stacks never run on one",
      remedy: "run: apt-get install util-linux",
    },
    {
      id: "images",
      code: "missing",
      ...said(existsSync(join(imageStore, "index.json")), imageStore, `there are no images in ${imageStore}`),
      reason: "a microVM boots from them",
      remedy: "run 'make build' first",
    },
    {
      id: "launcher",
      code: "missing",
      ...said(existsSync(launcher), launcher, "the launcher is not built"),
      reason: "it starts each service without rights, and each VMM in its jail",
      remedy: "run 'make build' first",
    },
  ];
}

const said = (ok: boolean, good: string, bad: string) => ({ ok, found: ok ? good : bad });

export const requirementChecks = (imageStore: string, system?: HostSystem): Check[] =>
  requirements(imageStore, system).map(({ id, reason, remedy, ok, found, version }) => ({
    id,
    severity: "fail",
    reason,
    remedy,
    async look() {
      if (!ok || version === undefined) return { ok, found };
      const [program, ...args] = version;
      return { ok, found: (await run(program, args)).stdout.split("\n")[0] ?? found };
    },
  }));
