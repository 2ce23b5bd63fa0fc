import { readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import type { MachineDriver } from "../support/machine-driver.ts";

export const cgroupRoot = "/sys/fs/cgroup";

export const readLine = (path: string): string => readFileSync(path, "utf8").trim();

/** A microVM of a driver as the kernel sees it. */
export function lookAt(driver: MachineDriver, { folder }: { folder: string }) {
  const [line = ""] = readFileSync(join(folder, "status.json"), "utf8").split("\n");
  const { pid, launcherPid } = JSON.parse(line).started as { pid: number; launcherPid: number };
  const stack = `${cgroupRoot}/exai-${driver.host.config.stack}`;
  return { pid, launcherPid, stack, cgroup: `${stack}/${basename(folder)}` };
}

/** The threads of a process: name → CPUs that it may run on, and its control group below the microVM's. */
export function threadsOf(pid: number): Record<string, { cpus: string; group: string }> {
  const threads = readdirSync(`/proc/${pid}/task`).map((thread): [string, { cpus: string; group: string }] => {
    const at = (name: string) => readFileSync(`/proc/${pid}/task/${thread}/${name}`, "utf8");
    return [at("comm").trim(), { cpus: allowed(at("status")), group: basename(at("cgroup").trim()) }];
  });
  return Object.fromEntries(threads);
}

/** Processes of user space that may run on a CPU, by pid; a thread of theirs is enough. */
export function allowedOn(cpu: number): string[] {
  return readdirSync("/proc").filter((pid) => {
    if (!/^\d+$/.test(pid)) return false;
    try {
      if (readFileSync(`/proc/${pid}/maps`, "utf8") === "") return false; // a thread of the kernel's
      return readdirSync(`/proc/${pid}/task`).some((thread) =>
        listed(allowed(readFileSync(`/proc/${pid}/task/${thread}/status`, "utf8"))).includes(cpu),
      );
    } catch {
      return false; // it ended meanwhile
    }
  });
}

const allowed = (status: string): string => /^Cpus_allowed_list:\t(.*)$/m.exec(status)?.[1] ?? "";

const listed = (list: string): number[] =>
  list.split(",").flatMap((part) => {
    const [first = 0, last = first] = part.split("-").map(Number);
    return Array.from({ length: last - first + 1 }, (_, at) => first + at);
  });
