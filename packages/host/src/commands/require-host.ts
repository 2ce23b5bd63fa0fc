import { existsSync } from "node:fs";
import { arch, platform } from "node:os";
import { isAbsolute, join } from "node:path";
import { HostError } from "../errors.ts";
import type { UpOptions } from "./up.ts";
import { launcherPath } from "./up.ts";

/** The few things without which nothing can start; `exai doctor` has the whole list. @throws HostError */
export function requireHost(
  options: UpOptions,
  system = { platform: platform(), arch: arch(), uid: process.getuid?.() ?? -1, qemu: "/usr/bin/qemu-system-x86_64" },
): void {
  if (system.platform !== "linux") throw new HostError("platform", `exai hosts run Linux, this is ${system.platform}`);
  if (system.arch !== "x64")
    throw new HostError("platform", `this build runs on x86_64, this machine is ${system.arch}`);
  if (system.uid !== 0) {
    throw new HostError(
      "not-root",
      "starting a stack needs root, which gives each microVM a user and namespaces of its own; use sudo",
    );
  }
  if (!isAbsolute(options.home)) throw new HostError("home", "EXAI_HOME must be an absolute path");
  if (!existsSync(system.qemu)) {
    throw new HostError("missing", "QEMU is not installed; run 'make quickstart', or: apt-get install qemu-system-x86");
  }
  if (!existsSync(join(options.imageStore, "index.json"))) {
    throw new HostError("missing", `there are no images in ${options.imageStore}; run 'make build' first`);
  }
  if (!existsSync(launcherPath())) throw new HostError("missing", "the launcher is not built; run 'make build' first");
}
