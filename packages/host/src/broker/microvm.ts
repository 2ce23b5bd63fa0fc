import type { Timings } from "@exai/api";
import type { Boot } from "./lifecycle.ts";

/** The steps that an actor takes for its one microVM. Every one may be repeated. */
export interface Microvm {
  isRunning(): Promise<boolean>;
  /** Admits, makes disk and namespaces, starts the VMM. Waits for its audit event before it starts anything. */
  launch(): Promise<Boot>;
  /** @throws when the guest does not answer in time, when its VMM ended, or `interrupted` */
  awaitReady(signal: AbortSignal): Promise<{ kernel: string; timings: Timings }>;
  /** @returns how the VMM ended, with a reason of our own words, or undefined when the signal fired first */
  awaitExit(signal: AbortSignal): Promise<{ clean: boolean; why: string } | undefined>;
  /** Asks the guest to power off and waits at most `graceMs` and a little. Never throws because of the guest. */
  shutdown(graceMs: number): Promise<void>;
  /** Ends the VMM and gives back what it was promised; never waits for an audit event. */
  kill(why: string): Promise<void>;
  /** Removes the VM with its disk. */
  remove(): Promise<void>;
}
