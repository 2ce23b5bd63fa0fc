import { mkdirSync, readdirSync, rmSync, statSync } from "node:fs";
import type { NodeConfig } from "@exai/api/host";
import { isId, type TenantId, type WorkspaceId } from "@exai/base";
import { NodeError } from "./errors.ts";
import { isThere, syncAll } from "./files.ts";
import { vmPaths } from "./paths.ts";
import { shortName } from "./placer.ts";
import { readTenant, type TenantRecord, writeTenant } from "./records.ts";

/**
 * Which VM folders there are, whose they are and which uid each has. Read once at the start, since nobody else writes
 * below `vms/`.
 */
export class Vms {
  readonly #config: Pick<NodeConfig, "vmsFolder" | "runFolder" | "vmUids">;
  readonly #records = new Map<WorkspaceId, TenantRecord>();
  /** Whose record can't be read: kept for somebody to look at, in nobody's way. */
  readonly #broken = new Map<WorkspaceId, { readonly error: NodeError; readonly uid: number | undefined }>();
  #lastUid: number;

  constructor(config: Pick<NodeConfig, "vmsFolder" | "runFolder" | "vmUids">) {
    this.#config = config;
    this.#lastUid = config.vmUids.first - 1;
    mkdirSync(config.vmsFolder, { recursive: true, mode: 0o711 });
    // What is no folder is nobody's of ours, and stays.
    for (const entry of readdirSync(config.vmsFolder, { withFileTypes: true })) {
      if (entry.isDirectory() && isId(entry.name)) this.#load(entry.name as WorkspaceId);
    }
  }

  #load(workspace: WorkspaceId): void {
    const paths = vmPaths(this.#config, workspace);
    try {
      const record = readTenant(paths.tenant);
      if (record !== undefined) this.#records.set(workspace, record);
      // A claim or a removal that ended before or after its record: there is nothing in it.
      else rmSync(paths.folder, { recursive: true, force: true });
    } catch (error) {
      if (!(error instanceof NodeError)) throw error;
      const uid = statSync(paths.disk, { throwIfNoEntry: false })?.uid;
      if (isThere(paths.launch)) this.#broken.set(workspace, { error, uid });
      // A power cut took the content of a new one; nothing was ever launched, so nobody's work is in it.
      else rmSync(paths.folder, { recursive: true, force: true });
    }
  }

  /** Workspaces that this host holds and can't say whose they are. */
  broken(): [WorkspaceId, NodeError][] {
    return [...this.#broken].map(([workspace, { error }]) => [workspace, error]);
  }

  /**
   * The record, if it is this tenant's; another tenant's is answered as if there were none.
   * @throws NodeError `broken-state` when it can't be read: nothing of it may pass for absent, or for destroyed
   */
  find(tenant: TenantId, workspace: WorkspaceId): TenantRecord | undefined {
    const broken = this.#broken.get(workspace);
    if (broken !== undefined) throw broken.error;
    const record = this.#records.get(workspace);
    return record?.tenant === tenant ? record : undefined;
  }

  ownerOf(workspace: WorkspaceId): TenantRecord {
    const record = this.#records.get(workspace);
    if (record === undefined) throw new NodeError("not-prepared", "the workspace is not prepared on this host");
    return record;
  }

  of(tenant: TenantId): WorkspaceId[] {
    return [...this.#records].filter(([, record]) => record.tenant === tenant).map(([workspace]) => workspace);
  }

  all(): [WorkspaceId, TenantRecord][] {
    return [...this.#records];
  }

  /** Gives it a uid and writes down whose it is. */
  claim(tenant: TenantId, workspace: WorkspaceId, diskMib: number): TenantRecord {
    const mine = this.find(tenant, workspace);
    if (mine !== undefined) {
      if (mine.diskMib === diskMib) return mine;
      throw new NodeError("disk-size", `the workspace has a disk of ${mine.diskMib} MiB, not of ${diskMib}`);
    }
    for (const other of [...this.#records.keys(), ...this.#broken.keys()]) {
      if (shortName(other) !== shortName(workspace)) continue;
      throw new NodeError("name-taken", `the name '${shortName(workspace)}' is taken on this host; use another id`);
    }
    const uid = this.#freeUid();
    const paths = vmPaths(this.#config, workspace);
    const record: TenantRecord = { version: 1, tenant, uid, gid: uid, diskMib };
    try {
      mkdirSync(paths.folder, { recursive: true, mode: 0o711 });
      writeTenant(paths.tenant, record);
    } catch (error) {
      rmSync(paths.folder, { recursive: true, force: true }); // nobody's yet
      throw error;
    }
    this.#records.set(workspace, record);
    return record;
  }

  /** Goes round the range, so that a uid rests as long as possible before it comes again. */
  #freeUid(): number {
    const { first, count } = this.#config.vmUids;
    const held = [...this.#records.values(), ...this.#broken.values()];
    const taken = new Set(held.map(({ uid }) => uid));
    for (let step = 1; step <= count; step++) {
      const uid = first + ((this.#lastUid - first + step + count) % count);
      if (taken.has(uid)) continue;
      this.#lastUid = uid;
      return uid;
    }
    throw new NodeError("uids-exhausted", `all ${count} uids for VMs are in use; destroy a workspace first`);
  }

  /** Last step of a removal. */
  async forget(workspace: WorkspaceId): Promise<void> {
    rmSync(vmPaths(this.#config, workspace).folder, { recursive: true, force: true });
    await syncAll([this.#config.vmsFolder]);
    this.#records.delete(workspace);
  }
}
