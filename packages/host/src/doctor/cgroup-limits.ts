import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

const needed = ["cpu", "memory", "pids"];

/** Whether this host can hold a VMM's memory, CPU and processes to a limit: cgroup v2, with the controllers for it. */
export function cgroupLimits(): { ok: boolean; found: string } {
  const mount = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].find((path) =>
    existsSync(join(path, "cgroup.controllers")),
  );
  if (mount === undefined) return { ok: false, found: "cgroup v2 is not mounted: limits are not enforced" };
  const controllers = readFileSync(join(mount, "cgroup.controllers"), "utf8").trim();
  const missing = needed.filter((each) => !controllers.split(" ").includes(each));
  if (missing.length === 0) return { ok: true, found: `${mount}: ${controllers}` };
  return { ok: false, found: `${mount} lacks ${missing.join(", ")}: limits are not enforced` };
}
