/**
 * `exai up` on the home HOME, but for the VMM: the stack's own processes with the double at NULL-VMM in Firecracker's place. Joins
 * the control group CGROUP first, so that it and all its children are counted there.
 *   node tools/bench-kvm/null-stack-main.ts HOME NULL-VMM CGROUP
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { createLogger } from "@exai/base";
import { enrolHost } from "../../packages/host/src/enrol/host.ts";
import { enrolReleaseKeys } from "../../packages/host/src/enrol/releases.ts";
import { createLocalTenant, enrolledTenants } from "../../packages/host/src/enrol/tenants.ts";
import { openHome, prepareHome } from "../../packages/host/src/home/home.ts";
import { lockHome } from "../../packages/host/src/home/lock.ts";
import { launcherPath } from "../../packages/host/src/supervisor/launcher-path.ts";
import { Stack } from "../../packages/host/src/supervisor/stack.ts";
import { cachePaths } from "../build/paths.ts";

const [path, nullVmm, cgroup] = process.argv.slice(2);
if (path === undefined || nullVmm === undefined || cgroup === undefined)
  throw new Error("usage: node tools/bench-kvm/null-stack-main.ts HOME NULL-VMM CGROUP");
writeFileSync(join(cgroup, "cgroup.procs"), String(process.pid));

const startedAtMs = Date.now();
const imageStore = cachePaths().images;
const { home: place } = prepareHome(path);
using _lock = await lockHome(place);
const home = openHome(place, startedAtMs);
const host = await enrolHost(home, startedAtMs);
enrolReleaseKeys(imageStore, home.paths.releases);
createLocalTenant(home, "local", host, imageStore);
const options = {
  home,
  host,
  tenants: enrolledTenants(home),
  imageStore,
  launcher: launcherPath(),
  qemu: "/nonexistent",
  firecracker: { path: nullVmm, version: "0.0.0", sha256: "a double" },
  accelerator: "kvm",
  tscKhz: undefined,
  production: false,
  capacity: { memoryMib: 8192, vms: 64 },
} as const;
const logger = createLogger({ process: "supervisor", write: (line) => process.stderr.write(line) });
await using stack = new Stack({ ...options }, { acceleratorReason: "a double runs no guest", startedAtMs, logger });
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => stack.requestStop(false));
await stack.start();
process.stdout.write("ready\n");
await stack.stopRequested;
