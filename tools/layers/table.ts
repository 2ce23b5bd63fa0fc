/**
 * What each package may import of ours, as ARCHITECTURE.md's table has it. `dynamic` may only be loaded by
 * `await import(…)`, at run time, when it is asked for.
 */
export interface Layer {
  readonly imports: readonly string[];
  readonly dynamic?: readonly string[];
  /** Packages from outside; Node's own modules are free but for those in `forbidden`. */
  readonly external: readonly string[];
  readonly forbidden?: readonly string[];
}

const connect = ["@bufbuild/protobuf", "@connectrpc/connect", "@connectrpc/connect-node"];
/** Nothing that opens a network: what parses no network's bytes can't be talked into anything by them. */
const noNetwork = ["node:http", "node:https", "node:http2", "node:tls", "node:dgram", "node:dns"];

export const layers: Readonly<Record<string, Layer>> = {
  base: { imports: [], external: [], forbidden: [...noNetwork, "node:fs", "node:net", "node:child_process"] },
  api: { imports: ["base"], external: ["zod", "@bufbuild/protobuf"], forbidden: [...noNetwork, "node:fs", "node:net"] },
  ipc: { imports: ["base"], external: [], forbidden: noNetwork },
  policy: {
    imports: ["base", "api"],
    external: ["jose", "zod"],
    forbidden: [...noNetwork, "node:fs", "node:net", "node:child_process"],
  },
  audit: { imports: ["base"], external: [], forbidden: ["node:child_process"] },
  node: { imports: ["base", "api", "ipc"], external: ["zod"], forbidden: noNetwork },
  machine: { imports: ["base", "api", "ipc"], external: connect },
  tenant: { imports: ["base", "api", "ipc", "policy", "audit", "machine"], external: connect },
  control: {
    imports: ["base", "api", "policy"],
    external: ["hono", "@hono/node-server", "kysely", "pg", "zod"],
    forbidden: ["node:child_process"],
  },
  host: {
    imports: ["base", "api", "ipc", "policy", "audit", "node", "machine", "tenant", "control"],
    external: ["@peculiar/x509", "reflect-metadata", "prom-client", "zod"],
  },
  sdk: { imports: ["base", "api"], external: connect, forbidden: ["node:child_process"] },
  cli: {
    imports: ["base", "api", "sdk", "policy", "audit"],
    dynamic: ["host"],
    external: ["commander", "cli-table3", "cli-progress"],
    forbidden: ["node:child_process"],
  },
};
