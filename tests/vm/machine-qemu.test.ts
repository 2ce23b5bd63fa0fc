import { describeMachineContract } from "@exai/machine/contract";
import { qemuDriver } from "./machine-qemu.ts";

describeMachineContract("QEMU, our kernel", () => qemuDriver("base"));
describeMachineContract("QEMU, the distribution's kernel", () => qemuDriver("base-stock"));
