import { existsSync } from "node:fs";
import { arch, platform } from "node:os";
import { join } from "node:path";
import type { DoctorCheckId } from "@exai/api/host";
import type { HostErrorCode } from "../errors.ts";
import { launcherPath } from "../supervisor/launcher-path.ts";
import { bad, type Check, ok as isOk } from "./check.ts";
import { shellCommand } from "./shell-word.ts";

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
  readonly id: DoctorCheckId;
  readonly code: HostErrorCode;
  readonly ok: boolean;
  readonly found: string;
  readonly reason: string;
  readonly remedy: string;
  /** Shows a person the same. */
  readonly command: readonly string[];
  /** Of what is there, `exai doctor` shows what it says of itself, or its digest. */
  readonly show?: "version" | "digest";
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
      command: ["uname", "-s"],
    },
    {
      id: "architecture",
      code: "platform",
      ...said(system.arch === "x64", "x86_64", `this build runs on x86_64, this machine is ${system.arch}`),
      reason: "images and the launcher are built for x86_64",
      remedy: "use an x86_64 machine",
      command: ["uname", "-m"],
    },
    {
      id: "root",
      code: "not-root",
      ...said(system.uid === 0, "uid 0", "starting a stack needs root, which gives each microVM a user of its own"),
      reason: "each microVM gets a user and namespaces of its own, which only root can give",
      remedy: "use sudo",
      command: ["id", "-u"],
    },
    {
      id: "qemu",
      code: "missing",
      ...said(existsSync(qemu), qemu, "QEMU is not installed"),
      reason: "QEMU runs the microVMs where Firecracker can't",
      remedy: "run 'make quickstart', or: apt-get install qemu-system-x86",
      command: [qemu, "--version"],
      show: "version",
    },
    {
      id: "flock",
      code: "missing",
      ...said(existsSync(flock), flock, "flock is not installed"),
      reason: "with it a home is locked, so that two stacks never run on one",
      remedy: "run: apt-get install util-linux",
      command: [flock, "--version"],
      show: "version",
    },
    {
      id: "images",
      code: "missing",
      ...said(existsSync(join(imageStore, "index.json")), imageStore, `there are no images in ${imageStore}`),
      reason: "a microVM boots from them",
      remedy: "run 'make build' first",
      command: ["cat", join(imageStore, "index.json")],
    },
    {
      id: "launcher",
      code: "missing",
      ...said(existsSync(launcher), launcher, "the launcher is not built"),
      reason: "it starts each service without rights, and each VMM in its jail",
      remedy: "run 'make build' first",
      command: ["sha256sum", launcher],
      show: "digest",
    },
  ];
}

const said = (ok: boolean, good: string, bad: string) => ({ ok, found: ok ? good : bad });

export const requirementChecks = (imageStore: string, system?: HostSystem): Check[] =>
  requirements(imageStore, system).map(({ id, reason, remedy, ok, found, command, show }) => ({
    id,
    severity: { development: "fail", production: "fail" },
    reason,
    remedy,
    command: shellCommand(...command),
    async look(facts) {
      if (!ok) return bad(found);
      if (show === "digest") return isOk(`${found}, SHA-256 ${await facts.digest(found)}`);
      const [program = "", ...args] = command;
      return isOk(show === "version" ? ((await facts.run(program, args)).split("\n")[0] ?? found) : found);
    },
  }));
