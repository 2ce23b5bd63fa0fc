import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describeHostileDevices, malformed } from "../support/hostile-suite.ts";
import { firecrackerHost } from "./machine-kvm.ts";
import { keptFolder } from "./where.ts";

describeHostileDevices({
  name: "Firecracker, KVM",
  makeHost: firecrackerHost,
  attacks: malformed,
  // Two disks, the vsock, entropy and the balloon.
  devices: ["19", "2", "2", "4", "5"],
  serving: ["19", "2", "2", "4", "5"],
  logBytes: 1 << 20,
  latency: true,
  keep: (what) => writeFileSync(join(keptFolder(), "outcomes.json"), `${JSON.stringify(what, null, 1)}\n`),
});
