import { lifetimeId, tenantId } from "@exai/api";
import { snapshotOrigin } from "@exai/api/host";
import { describeError } from "@exai/base";
import { z } from "zod";
import { NodeError } from "./errors.ts";
import { readIfThere, replaceFile } from "./files.ts";

const uid = z.int().min(1).max(4_294_967_294);

/** `tenant.json`: written first, removed last. A folder without it is nobody's. */
const tenantRecord = z.strictObject({
  version: z.literal(1),
  tenant: tenantId,
  uid,
  gid: uid,
  diskMib: z.int().min(1),
});
export type TenantRecord = z.infer<typeof tenantRecord>;

/** `launch.json`: written before the launcher starts. */
const launchRecord = z.strictObject({
  version: z.literal(1),
  lifetime: lifetimeId,
  bootId: z.string(),
  /** What was launched, for a snapshot of it; an older agent did not write it down. */
  machine: z
    .strictObject({
      vmm: snapshotOrigin.shape.vmm.shape.name,
      of: snapshotOrigin.shape.machine,
      limits: z.strictObject({ memoryBytes: z.int(), cpus: z.number(), pids: z.int() }),
    })
    .optional(),
});
export type LaunchRecord = z.infer<typeof launchRecord>;

const pid = z.int().min(2);
const startTime = z.int().min(0);
const started = z.strictObject({ tag: z.string(), pid, startTime, launcherPid: pid, launcherStartTime: startTime });
const exit = z.strictObject({ code: z.int().optional(), signal: z.int().optional() });
const startedLine = z.strictObject({ started });
const endedLine = z.strictObject({ exit, error: z.string().optional() });

/** `status.json`, by the launcher: a line when the VMM starts, one when it has ended. */
export interface StatusRecord {
  readonly started: z.infer<typeof started>;
  readonly exit?: z.infer<typeof exit>;
}

const read = <T>(path: string, schema: z.ZodType<T>): T | undefined => {
  const text = readIfThere(path);
  return text === undefined ? undefined : parse(path, text, schema);
};

function parse<T>(path: string, text: string, schema: z.ZodType<T>): T {
  try {
    return schema.parse(JSON.parse(text));
  } catch (cause) {
    throw new NodeError("broken-state", `${path} does not hold what was written there: ${describeError(cause)}`);
  }
}

/** @throws NodeError `broken-state` */
export const readRecord = read;
export const readTenant = (path: string): TenantRecord | undefined => read(path, tenantRecord);
export const readLaunch = (path: string): LaunchRecord | undefined => unlessTorn(() => read(path, launchRecord));
export const writeTenant = (path: string, record: TenantRecord): void => write(path, record);
export const writeLaunch = (path: string, record: LaunchRecord): void => write(path, record);
const write = (path: string, record: object): void => replaceFile(path, `${JSON.stringify(record)}\n`);

/** Launch and status are not synced: only a power cut, which no VM outlives, leaves something else in them. */
export function unlessTorn<T>(work: () => T | undefined): T | undefined {
  try {
    return work();
  } catch (error) {
    if (error instanceof NodeError) return undefined;
    throw error;
  }
}

/** A line counts when its line feed is there: the launcher may be in the middle of it. */
export const readStatus = (path: string): StatusRecord | undefined => unlessTorn(() => parseStatus(path));

function parseStatus(path: string): StatusRecord | undefined {
  const [first, second] = (readIfThere(path) ?? "").split("\n").slice(0, -1);
  if (first === undefined) return undefined;
  const begun = parse(path, first, startedLine);
  return second === undefined ? begun : { ...begun, exit: parse(path, second, endedLine).exit };
}
