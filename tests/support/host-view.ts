import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { HostFixture } from "../vm/host-fixture.ts";

/**
 * What a host has of a stack as its kernel tells it, by none of the stack's own means: processes, control groups,
 * namespaces, mounts, loop devices, links, files.
 */
export function seenOf(host: HostFixture): string[] {
  const { stack, vmUids, vmsFolder, runFolder } = host.config;
  const runs = host.tenants.flatMap((tenant) => [join(runFolder, "t", tenant, "vm"), join(runFolder, "m", tenant)]);
  return [
    ...processes((uid, command) => {
      const its = uid >= vmUids.first && uid < vmUids.first + vmUids.count;
      return its || command.includes(host.root) || command.includes("exai-launcher");
    }),
    ...namesIn("/sys/fs/cgroup", "cgroup").filter((name) => name.includes(stack)),
    ...namesIn("/sys/fs/cgroup/unified", "cgroup").filter((name) => name.includes(stack)),
    ...namesIn("/run/netns", "namespace").filter((name) => name.includes(stack)),
    ...[vmsFolder, ...runs].flatMap((folder) => namesIn(folder, "file")),
    ...mounts().filter((line) => line.includes(host.root) || line.includes(stack)),
  ];
}

/** What a stack may make that does not have its name: to be compared before and after on a host that does nothing else. */
export const devices = (): string[] => [
  ...namesIn("/sys/class/net", "link"),
  ...namesIn("/sys/block", "loop").filter((name) => existsSync(join("/sys/block", name.slice(5), "loop/backing_file"))),
  // That folder is every namespace's, whoever made it first.
  ...mounts().filter((line) => !/ \/run\/netns (tmpfs|none) /.test(line)),
];

function processes(wanted: (uid: number, command: string) => boolean): string[] {
  return readdirSync("/proc").flatMap((pid) => {
    if (!/^\d+$/.test(pid) || Number(pid) === process.pid) return [];
    try {
      const status = readFileSync(`/proc/${pid}/status`, "utf8");
      const command = readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ");
      const found = wanted(Number(/^Uid:\s+(\d+)/m.exec(status)?.[1]), command);
      return found ? [`process ${pid} ${/^State:\s+(\S)/m.exec(status)?.[1]} ${command.slice(0, 100)}`] : [];
    } catch {
      return []; // it ended while we looked
    }
  });
}

const namesIn = (folder: string, kind: string): string[] =>
  existsSync(folder) ? readdirSync(folder).map((name) => `${kind} ${name}`) : [];

const mounts = (): string[] =>
  readFileSync("/proc/self/mounts", "utf8")
    .trim()
    .split("\n")
    .map((line) => `mount ${line}`);
