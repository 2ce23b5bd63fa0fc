import type { SnapshotRef } from "@exai/api/host";
import type { WorkspaceId } from "@exai/base";
import type { GuestSession } from "../guest/index.ts";
import type { Machine } from "../machine.ts";
import type { Monitor } from "../vmm/monitor.ts";

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
  monitor(): Promise<Monitor>;
  readonly workspace: WorkspaceId;
  /** The VM's own user on the host. */
  readonly uid: number;
}

/** A snapshot as it lies there, for tests that damage it. */
export interface Saved {
  readonly ref: SnapshotRef;
  /** Its files, and the record that only root can change. */
  readonly files: readonly string[];
  readonly record: string;
  /** Makes the sealed volume writable again, which only root can. */
  unseal(): void;
}

/** What a VMM driver's test gives the suite: real machines on a real host. */
export interface ContractDriver extends AsyncDisposable {
  launch(spec: MachineSpec): Promise<Launched>;
  /**
   * A machine in another jail, with another uid and a copy of the source's disk, that begins from its snapshot. A refusal
   * leaves nothing.
   */
  load(spec: MachineSpec, from: SnapshotRef): Promise<Launched>;
  saved(ref: SnapshotRef): Saved;
  /** A volume of this size for it. */
  attach(launched: Launched, sizeMib: number): Promise<SnapshotRef>;
  drop(ref: SnapshotRef): Promise<unknown>;
  /** Names of whatever is still there of this driver's machines: processes, files, namespaces, control groups. */
  leftovers(): Promise<string[]>;
}
