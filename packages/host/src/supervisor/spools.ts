import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { errorCode } from "@exai/base";
import type { EnrolledTenant } from "../enrol/tenants.ts";

/** Bytes that one writer of one tenant's audit log may use on this host. */
export const spoolQuotaBytes = 256 << 20;

export interface SpoolUse {
  tenant: string;
  writer: string;
  bytes: number;
  quotaBytes: number;
}

/** How full the audit logs are: at its quota a writer lets nothing be granted. */
export function spoolUse(folder: string, tenants: readonly EnrolledTenant[]): SpoolUse[] {
  return tenants.flatMap(({ anchor }) =>
    ["broker", "channel"].map((writer) => ({
      tenant: anchor.name,
      writer,
      bytes: bytesOf(join(folder, anchor.tenant, writer)),
      quotaBytes: spoolQuotaBytes,
    })),
  );
}

function bytesOf(folder: string): number {
  try {
    return readdirSync(folder).reduce((sum, name) => sum + statSync(join(folder, name)).size, 0);
  } catch (error) {
    if (errorCode(error) === "ENOENT") return 0; // a writer that has not begun
    throw error;
  }
}
