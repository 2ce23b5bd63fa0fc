import { rmSync } from "node:fs";
import { join } from "node:path";
import type { EnrolledTenant } from "../enrol/tenants.ts";
import { ensureFolder } from "../home/files.ts";
import type { Home } from "../home/home.ts";
import { runPaths, uidOffsets } from "../home/paths.ts";

/**
 * Makes the folders of docs/internals/host.md, each with the owner that decides who may connect. Only leaves belong to
 * somebody else: a folder of theirs in the middle could be swapped for a link, and root would follow it.
 */
export function makeRunFolders(home: Home, tenants: readonly EnrolledTenant[]): void {
  const run = runPaths(home.stack);
  const control = own(home.uidBase + uidOffsets.control);
  const broker = own(home.uidBase + uidOffsets.broker);
  ensureFolder("/run/exai", 0o755);
  ensureFolder(run.run, 0o711);
  ensureFolder(run.app, 0o755);
  ensureFolder(join(run.run, "api"), 0o755, control);
  ensureFolder(run.broker, 0o700, broker);
  for (const folder of [run.node, run.monitors]) ensureFolder(folder, 0o711);
  ensureFolder(run.tenants, 0o711);
  for (const { anchor, channelUid } of tenants) {
    const channel = own(channelUid);
    ensureFolder(run.tenant(anchor.tenant), 0o711);
    ensureFolder(join(run.tenant(anchor.tenant), "vm"), 0o700, channel);
    ensureFolder(run.adminFolder(anchor.tenant), 0o750, { uid: channelUid, gid: broker.gid });
    ensureFolder(run.monitor(anchor.tenant), 0o700, broker);
    ensureFolder(join(run.node, anchor.tenant), 0o700, broker);
    const spool = join(home.paths.spool, anchor.tenant);
    ensureFolder(spool, 0o755);
    ensureFolder(join(spool, "broker"), 0o755, broker);
    ensureFolder(join(spool, "channel"), 0o755, channel);
  }
}

export function removeRunFolders(home: Home): void {
  rmSync(runPaths(home.stack).run, { recursive: true, force: true });
}

const own = (id: number) => ({ uid: id, gid: id });
