import type { GuestSession } from "../guest/index.ts";
import type { Machine } from "../machine.ts";

export interface MachineSpec {
  readonly cpus: number;
  readonly memoryMib: number;
  readonly diskMib: number;
}

/** A machine that was launched, and what the suite looks at from outside. */
export interface Launched {
  readonly machine: Machine;
  /** Dials the guest's channel; each call is a new connection. */
  dial(): Promise<GuestSession>;
  /** What the guest has printed so far. */
  console(): Promise<string>;
}

/** What a VMM driver's test gives the suite: real machines on a real host. */
export interface ContractDriver extends AsyncDisposable {
  launch(spec: MachineSpec): Promise<Launched>;
  /** Names of whatever is still there of this driver's machines: processes, files, namespaces, control groups. */
  leftovers(): Promise<string[]>;
}
