import { describeHostileDevices, malformed } from "../support/hostile-suite.ts";
import { qemuHost } from "./machine-qemu.ts";

describeHostileDevices({
  name: "QEMU, emulated",
  makeHost: () => qemuHost("base"),
  attacks: malformed,
  // Two disks, the serial port, entropy and the balloon.
  devices: ["2", "2", "3", "4", "5"],
  serving: ["2", "2", "3", "4", "5"],
  logBytes: 1 << 20,
  latency: false,
});
