// nested-host: always
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { sh } from "@exai/machine/contract";
import { expect, it } from "vitest";
import { describeHostileDevices, malformed } from "../support/hostile-suite.ts";
import { firecrackerDriver, firecrackerHost } from "./machine-kvm.ts";
import { keptFolder } from "./where.ts";

it("the channel's port is the agent's: no program of a workspace gets a vsock, root's neither", async () => {
  await using driver = await firecrackerDriver();
  const vm = await driver.launch({ cpus: 1, memoryMib: 128, diskMib: 64 });
  using guest = await vm.dial();
  const dial = "import socket\ns=socket.socket(40,1)\ns.settimeout(5)\ns.connect((2,1024))\nprint('connected')";
  for (const user of ["root", "user"]) {
    const { stdout, stderr } = await sh(guest, `python3 -c "${dial}"`, { user });
    expect([stdout, stderr.match(/Errno \d+/)?.[0]]).toEqual(["", "Errno 97"]);
  }
});

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
