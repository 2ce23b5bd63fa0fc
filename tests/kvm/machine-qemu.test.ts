import { describeMachineContract } from "@exai/machine/contract";
import { qemuKvmDriver } from "./machine-kvm.ts";

describeMachineContract("QEMU, KVM", qemuKvmDriver);
