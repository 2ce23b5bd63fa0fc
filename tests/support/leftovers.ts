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

/** What names a stack's traces on this machine, so that its own can be told from those of others that run beside it. */
export interface StackTraces {
  readonly home: string;
  readonly stack: string;
  readonly uids: { readonly first: number; readonly count: number };
}

const uidRange = { base: 0x7000_0000, size: 65_536 } as const;

/** Of a stack that has been started; before it is purged. */
export function tracesOf(home: string): StackTraces {
  const { stack } = JSON.parse(readFileSync(join(home, "home.json"), "utf8")) as { stack: string };
  const claim = readdirSync(registry).find((name) => readlinkSync(join(registry, name)) === home);
  if (claim === undefined) throw new Error(`${home} has no claim on user ids`);
  return { home, stack, uids: { first: uidRange.base + Number(claim) * uidRange.size, count: uidRange.size } };
}

/** What one stack has left, whatever else runs on this machine. */
export function leftoversOf({ home, stack, uids }: StackTraces): string[] {
  const named = [...namespaces(), ...mounts(), ...cgroups(), ...runFolders(), ...claims()].filter(
    (each) => each.includes(stack) || each.includes(home),
  );
  const running = readdirSync("/proc").flatMap((pid) => {
    if (!/^\d+$/.test(pid)) return [];
    try {
      const uid = Number(/^Uid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]);
      const command = readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ");
      const environment = readFileSync(`/proc/${pid}/environ`, "utf8");
      const its = (uid >= uids.first && uid < uids.first + uids.count) || `${command}${environment}`.includes(home);
      return its || command.includes(`/${stack}/`) ? [`process ${pid} ${command.slice(0, 80)}`] : [];
    } catch {
      return []; // it ended while we looked
    }
  });
  return [...named, ...running, ...(existsSync(home) ? [`folder ${home}`] : [])].sort();
}

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

const registry = "/var/lib/exai-uids";

function claims(): string[] {
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
