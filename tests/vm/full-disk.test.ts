import { describeFullDisk } from "../support/full-disk.ts";
import { qemuDriver } from "./machine-qemu.ts";

describeFullDisk("QEMU", () => qemuDriver("base"));
