import { describeMachineContract } from "@exai/machine/contract";
import { firecrackerDriver } from "./machine-kvm.ts";

describeMachineContract("Firecracker, KVM", firecrackerDriver);
