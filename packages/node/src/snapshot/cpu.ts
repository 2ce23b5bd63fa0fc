import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import type { SnapshotOrigin } from "@exai/api/host";
import { NodeError } from "../errors.ts";

/**
 * The host's processor, as a guest that was saved on it must find it again: /proc/cpuinfo's first entry. The microcode
 * is left out: an update must not lose what was saved.
 * @throws NodeError `broken-state` when there is no such entry
 */
export function cpuIdentity(cpuinfo = readFileSync("/proc/cpuinfo", "utf8")): SnapshotOrigin["cpu"] {
  const first = cpuinfo.slice(0, cpuinfo.indexOf("\n\n") + 1);
  const fields = new Map(first.split("\n").map((line) => fieldOf(line)));
  const field = (name: string): string => {
    const value = fields.get(name);
    if (value === undefined || value.length === 0)
      throw new NodeError("broken-state", `/proc/cpuinfo does not tell the processor's ${name}`);
    return value;
  };
  const flags = field("flags").split(" ").sort().join(" ");
  return {
    vendor: field("vendor_id"),
    family: field("cpu family"),
    model: field("model"),
    stepping: field("stepping"),
    name: field("model name").slice(0, 200),
    flagsSha256: createHash("sha256").update(flags).digest("hex"),
  };
}

function fieldOf(line: string): [string, string] {
  const at = line.indexOf(":");
  return [line.slice(0, Math.max(0, at)).trim(), line.slice(at + 1).trim()];
}
