/** The closed set of privileged actions of one host. The process itself is `main.ts`. */
export { NodeAgent } from "./agent.ts";
export type { NodeAgentOptions } from "./context.ts";
export { NodeError, type NodeErrorCode } from "./errors.ts";
export { hostFloor } from "./floor/host-floor.ts";
export type { CpuShare } from "./floor/vm-groups.ts";
export { outputBytes } from "./launcher-document.ts";
export { LocalPlacer, type Placement, type Placer } from "./placer.ts";
