import { readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { tenantId, workspaceId } from "@exai/api";
import { errorCode, isId, type WorkspaceId } from "@exai/base";
import { intentLedger } from "@exai/policy";
import { z } from "zod";
import { HostError } from "../errors.ts";
import { writeFileDurably } from "../home/files.ts";
import { lifecycle } from "./lifecycle.ts";

/** One workspace as this host knows it. The journal, not the control plane, is the truth about what exists. */
const journalEntry = z.strictObject({
  version: z.literal(1),
  workspace: workspaceId,
  tenant: tenantId,
  ledger: intentLedger,
  /** The control plane's wish, kept so that a restart without it does not start what it stopped. */
  halted: z.boolean(),
  /** The control plane does not list it: kept, and said. */
  quarantined: z.boolean(),
  state: lifecycle,
});
export type JournalEntry = z.infer<typeof journalEntry>;

/** Entries are rewritten as a whole, so that a few of them make room for each other. */
const reserveBytes = 256 << 10;

/** One file a workspace, each written as a whole: a kill at any instant leaves the old entry or the new one. */
export class Journal {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
    this.#makeReserve();
  }

  /** @throws HostError `journal`: a damaged entry stops the broker, since guessing could lose a workspace */
  load(): JournalEntry[] {
    const entries: JournalEntry[] = [];
    for (const file of readdirSync(this.#folder)) {
      if (!file.endsWith(".json") || !isId(file.slice(0, -5))) continue; // a `.new` that was never renamed
      try {
        entries.push(journalEntry.parse(JSON.parse(readFileSync(join(this.#folder, file), "utf8"))));
      } catch (cause) {
        throw new HostError("journal", `the journal entry ${file} is damaged; restore it or move it away`, { cause });
      }
    }
    return entries;
  }

  /**
   * @param contains on a full disk what stops or destroys gets the room of the reserve
   * @throws when it could not be written; the old entry is there then
   */
  save(entry: JournalEntry, contains = false): void {
    const write = () =>
      writeFileDurably(join(this.#folder, `${entry.workspace}.json`), `${JSON.stringify(entry)}\n`, 0o600);
    try {
      write();
    } catch (error) {
      if (!contains || errorCode(error) !== "ENOSPC") throw error;
      rmSync(this.#reserve, { force: true });
      write();
    }
  }

  get #reserve(): string {
    return join(this.#folder, "reserve");
  }

  /** Made again by the next process: until then the disk is watched by who filled it. */
  #makeReserve(): void {
    try {
      writeFileDurably(this.#reserve, "\0".repeat(reserveBytes), 0o600);
    } catch (error) {
      if (errorCode(error) !== "ENOSPC") throw error;
    }
  }

  forget(workspace: WorkspaceId): void {
    rmSync(join(this.#folder, `${workspace}.json`), { force: true });
  }
}
