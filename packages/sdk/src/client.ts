import { userInfo } from "node:os";
import { type WorkspaceSpec, workspaceName, workspaceSpec } from "@exai/api";
import { isId, newWorkspaceId, parseWorkspaceId, type WorkspaceId } from "@exai/base";
import { ControlClient, type ListFilter } from "./control/client.ts";
import { createHttpClient } from "./control/http.ts";
import type { DataPlanes } from "./data/plane.ts";
import { SdkError } from "./errors.ts";
import { readEvents, type SealedRecord } from "./events.ts";
import { findProfile, type LoadedProfile, loadProfile, type ProfileChoice } from "./profile.ts";
import { Signer } from "./tokens.ts";
import { Workspace, type WorkspaceParts } from "./workspace.ts";

export interface ClientOptions extends ProfileChoice {
  /** Who acts, for the tenant's audit log. Default: the user of this process. */
  readonly actor?: string;
}

/** What `create` takes; sizes have defaults that run the base image well. */
export type NewWorkspace = Pick<WorkspaceSpec, "image"> & Partial<Omit<WorkspaceSpec, "image">>;

export const workspaceDefaults = { cpus: 1, memoryMib: 512, diskMib: 2048, ttlSeconds: 0 } as const;

/** A tenant's connection to a stack. Nothing is trusted of the control plane but that it hands things on. */
export class Client implements AsyncDisposable {
  readonly loaded: LoadedProfile;
  readonly workspaces: Workspaces;
  readonly #control: ControlClient;
  readonly #signer: Signer;
  #planes: Promise<DataPlanes> | undefined;

  private constructor(loaded: LoadedProfile, control: ControlClient, signer: Signer) {
    this.loaded = loaded;
    this.#control = control;
    this.#signer = signer;
    this.workspaces = new Workspaces({ control, signer, planes: () => this.#loadPlanes() });
  }

  /** Reads profile and keys; connects when first used. @throws SdkError `no-stack`, `bad-profile` */
  static async open(options: ClientOptions = {}): Promise<Client> {
    const loaded = loadProfile(findProfile(options));
    const { profile, signingKey, publicKey } = loaded;
    const actor = options.actor ?? defaultActor();
    const signer = new Signer({ tenant: profile.tenant, signingKey, publicKey, actor });
    const control = new ControlClient(await createHttpClient(profile.control), () => signer.controlToken());
    return new Client(loaded, control, signer);
  }

  /** Sealed audit records of the tenant, of every host, in the order of each spool; only its log key opens them. */
  async *events(options: { follow?: boolean; last?: number; signal?: AbortSignal } = {}): AsyncGenerator<SealedRecord> {
    const endpoints = await this.#control.endpoints(options.signal);
    const planes = await this.#loadPlanes();
    yield* readEvents(
      endpoints.map((each) => ({ host: each.host, plane: planes.open(each, undefined) })),
      options,
    );
  }

  /** Loads what the data plane needs, ahead of its use. */
  preload(): void {
    const loads = [
      this.#loadPlanes(),
      import("./process/execution.ts"),
      import("./process/options.ts"),
      import("./ready.ts"),
    ];
    for (const load of loads) load.catch(() => undefined); // thrown where it is used
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#control[Symbol.dispose]();
    const planes = await this.#planes?.catch(() => undefined);
    planes?.[Symbol.dispose]();
  }

  #loadPlanes(): Promise<DataPlanes> {
    this.#planes ??= import("./data/plane.ts").then(
      ({ DataPlanes }) => new DataPlanes(this.loaded.profile.tenant, this.loaded.profile.hosts, this.#signer),
    );
    return this.#planes;
  }
}

const undoMs = 2000;

class Workspaces {
  readonly #parts: WorkspaceParts;
  constructor(parts: WorkspaceParts) {
    this.#parts = parts;
  }

  /**
   * Signs and hands in a creation; returns when the control plane has stored it. `exec` and the others wait for the guest
   * by themselves; `ready` does only that.
   * @throws SdkError `invalid`, `exhausted`, `conflict` (the name is taken), `unreachable`, `cancelled` (and destroyed again)
   */
  async create(spec: NewWorkspace, options: { signal?: AbortSignal } = {}): Promise<Workspace> {
    const parsed = workspaceSpec.safeParse({ labels: {}, ...workspaceDefaults, ...spec });
    if (!parsed.success) throw new SdkError("invalid", firstIssue(parsed.error), { cause: parsed.error });
    const id = newWorkspaceId();
    const intent = this.#parts.signer.signIntent(id, { act: "create", spec: parsed.data });
    const record = await this.#parts.control.create(intent, options.signal).catch(async (error: unknown) => {
      if (options.signal?.aborted) await this.#undo(id);
      throw error;
    });
    if (record.id !== id) throw new SdkError("forged", "the control plane answered with another workspace");
    return new Workspace(this.#parts, record);
  }

  /** A creation that was cancelled may be stored all the same. */
  async #undo(id: WorkspaceId): Promise<void> {
    const intent = this.#parts.signer.signIntent(id, { act: "destroy" });
    // Fails where nothing was stored; a control plane that hangs is not waited for again.
    await this.#parts.control.submit(id, intent, AbortSignal.timeout(undoMs)).catch(() => undefined);
  }

  /** Oldest first; `ended` adds those that were destroyed in the last days. */
  async *list(options: ListFilter & { signal?: AbortSignal } = {}): AsyncGenerator<Workspace> {
    for await (const record of this.#parts.control.list(options, options.signal)) {
      yield new Workspace(this.#parts, record);
    }
  }

  /**
   * By id, by the first 4 or more characters of one, or by name.
   * @throws SdkError `not-found`, `invalid` (several match)
   */
  async get(reference: string, options: { signal?: AbortSignal } = {}): Promise<Workspace> {
    if (isId(reference)) return await this.#byId(parseWorkspaceId(reference), options.signal);
    const named = workspaceName.safeParse(reference).success ? { name: reference } : undefined;
    // The name is asked for first; whether it is right is read from our own signature.
    if (named !== undefined) {
      for await (const workspace of this.list({ ...named, ...options }))
        if (workspace.name === reference) return workspace;
    }
    const matches: Workspace[] = [];
    for await (const workspace of this.list(options)) {
      if (workspace.record.desired === "destroyed") continue;
      if (reference.length >= 4 && workspace.id.startsWith(reference)) matches.push(workspace);
    }
    const [only, another] = matches;
    if (another !== undefined)
      throw new SdkError("invalid", `'${reference}' fits ${matches.length} workspaces; write more of the id`);
    if (only !== undefined) return only;
    throw new SdkError("not-found", `there is no workspace '${reference.slice(0, 80)}'; see 'exai ws ls'`);
  }

  async #byId(id: WorkspaceId, signal: AbortSignal | undefined): Promise<Workspace> {
    try {
      return new Workspace(this.#parts, await this.#parts.control.get(id, undefined, signal));
    } catch (cause) {
      if (!(cause instanceof SdkError) || cause.code !== "not-found") throw cause;
      throw new SdkError("not-found", `there is no workspace '${id}'; see 'exai ws ls'`, { cause });
    }
  }
}

export type { Workspaces };

function firstIssue(error: { issues: readonly { path: readonly PropertyKey[]; message: string }[] }): string {
  const issue = error.issues[0];
  return issue === undefined ? "the workspace is not valid" : `${issue.path.map(String).join(".")}: ${issue.message}`;
}

function defaultActor(): string {
  try {
    return userInfo().username;
  } catch {
    return `uid-${process.getuid?.() ?? "unknown"}`;
  }
}
