import { observedPhase, workspaceId } from "@exai/api";
import { deviceReports, doctorSummary, floorState } from "@exai/api/host";
import { z } from "zod";

const none = z.strictObject({});

const hostedWorkspace = z.strictObject({
  workspace: workspaceId,
  tenant: z.string(),
  phase: observedPhase,
  message: z.string().optional(),
  quarantined: z.boolean(),
});

/** What the supervisor asks of the broker. */
export const brokerContract = {
  status: {
    request: none,
    response: z.strictObject({
      controlConnected: z.boolean(),
      promisedMib: z.int(),
      capacityMib: z.int(),
      promisedCpus: z.int(),
      /** Absent while the node agent does not answer. */
      floor: floorState.optional(),
      workspaces: z.array(hostedWorkspace).max(10_000),
      /** A VMM's own word. */
      devices: deviceReports,
    }),
  },
  /** Stops every microVM (guests power off, disks stay); they run again when the stack does. */
  drain: { request: none, response: z.strictObject({ stopped: z.int() }) },
  /** What the operator's `exai doctor` has found, for every tenant's audit log. */
  checked: { request: doctorSummary, response: none },
} as const;
export type BrokerStatus = ReturnType<typeof brokerContract.status.response.parse>;

const stackStatus = z.strictObject({
  home: z.string(),
  stack: z.string(),
  version: z.string(),
  startedAt: z.iso.datetime(),
  ready: z.boolean(),
  vmm: z.string(),
  accelerator: z.enum(["kvm", "tcg"]),
  acceleratorReason: z.string(),
  production: z.boolean(),
  processes: z.array(
    z.strictObject({ name: z.string(), pid: z.int().optional(), restarts: z.int(), pssMib: z.number().optional() }),
  ),
  tenants: z.array(z.strictObject({ tenant: z.string(), name: z.string() })),
  broker: brokerContract.status.response.optional(),
  spools: z.array(z.strictObject({ tenant: z.string(), writer: z.string(), bytes: z.int(), quotaBytes: z.int() })),
  /** What this build does not protect yet, and what this host can't: said, never hidden. */
  notProtected: z.array(z.string()),
});
export type StackStatus = z.infer<typeof stackStatus>;

/** `exai status` and `exai down` ask the supervisor. */
export const supervisorContract = {
  status: { request: none, response: stackStatus },
  /** Answers before it stops. `keepVms` leaves the microVMs running, for an upgrade. */
  stop: { request: z.strictObject({ keepVms: z.boolean() }), response: none },
  /** Hands on what `exai doctor` has found. @throws when the broker does not take it */
  checked: { request: doctorSummary, response: none },
  /** Reads the tenants' anchors again and starts what is missing. */
  reload: { request: none, response: none },
} as const;
