import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";

/** What a stack may leave on a machine by mistake: VMMs, launchers, namespaces, mounts, cgroups, run folders, claims. */
export function leftovers(): string[] {
  return [...processes(), ...namespaces(), ...mounts(), ...cgroups(), ...runFolders(), ...claims()].sort();
}

/** Those of `leftovers()` that were not there before. */
export const newLeftovers = (before: readonly string[]): string[] =>
  leftovers().filter((each) => !before.includes(each));

function processes(): string[] {
  const found: string[] = [];
  for (const pid of readdirSync("/proc")) {
    if (!/^\d+$/.test(pid)) continue;
    try {
      const command = readFileSync(join("/proc", pid, "cmdline"), "utf8").replaceAll("\0", " ");
      if (/^\S*(qemu-system|exai-launcher)|packages\/(node|control|tenant|host)\/src\/\S*main\.ts/.test(command)) {
        found.push(`process ${pid} ${command.slice(0, 80)}`);
      }
    } catch {
      // it ended while we looked
    }
  }
  return found;
}

function namespaces(): string[] {
  const list = existsSync("/run/netns") ? readdirSync("/run/netns") : [];
  return list.filter((name) => name.startsWith("exai-")).map((name) => `network namespace ${name}`);
}

function mounts(): string[] {
  return readFileSync("/proc/self/mounts", "utf8")
    .split("\n")
    .filter((line) => line.includes("exai"))
    .map((line) => `mount ${line}`);
}

function cgroups(): string[] {
  const roots = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"];
  return roots
    .filter((root) => existsSync(root))
    .flatMap((root) =>
      readdirSync(root)
        .filter((name) => name.startsWith("exai"))
        .map((name) => `cgroup ${root}/${name}`),
    );
}

function runFolders(): string[] {
  return existsSync("/run/exai") ? readdirSync("/run/exai").map((name) => `folder /run/exai/${name}`) : [];
}

function claims(): string[] {
  const registry = "/var/lib/exai-uids";
  return existsSync(registry)
    ? readdirSync(registry).map((name) => `claim ${name} ${readlinkSync(join(registry, name))}`)
    : [];
}

/** Loop devices and taps, by the tools that list them. */
export function devices(): string[] {
  const taps = execFileSync("ip", ["-o", "link"], { encoding: "utf8" })
    .split("\n")
    .filter((line) => /exai|tap/.test(line));
  return taps.map((line) => `link ${line.slice(0, 60)}`);
}
