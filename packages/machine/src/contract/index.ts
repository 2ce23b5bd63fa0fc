/** For the tests of VMM drivers only. */
export type { ContractDriver, Launched, MachineSpec } from "./driver.ts";
export { bytes, type RunResult, sh, talk } from "./guest.ts";
export { describeMachineContract } from "./suite.ts";
