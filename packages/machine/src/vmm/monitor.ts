import type { LaunchRequest } from "@exai/api/host";
import { FirecrackerMonitor } from "./firecracker/monitor.ts";
import { QemuMonitor } from "./qemu/monitor.ts";

/**
 * What a VMM's control socket is used for once its VM runs, the same for each. QEMU serves one connection at a time: a
 * monitor is held for a step, not for a life.
 */
export interface Monitor extends Disposable {
  /** The processors stand still. @throws MachineError `monitor` */
  pause(): Promise<void>;
  /** They go on. @throws MachineError `monitor` */
  resume(): Promise<void>;
  /** A paused VM's state and memory, into the volume that the node agent attached. @throws MachineError `monitor` */
  save(): Promise<void>;
  /** Answers when a VM that was launched from a snapshot stands there, paused. @throws MachineError `monitor` */
  load(): Promise<void>;
}

/** @param path of the monitor's socket */
export async function connectMonitor(vmm: LaunchRequest["vmm"], path: string): Promise<Monitor> {
  return vmm === "firecracker" ? new FirecrackerMonitor(path) : QemuMonitor.connect(path);
}
