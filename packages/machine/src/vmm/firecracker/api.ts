import { type FirecrackerLoad, firecrackerAnswers, firecrackerLoad, firecrackerSnapshot, jail } from "@exai/api/host";
import { MachineError } from "../../errors.ts";
import { snapshotPaths } from "../plan.ts";
import { printable } from "../printable.ts";
import { type ApiAnswer, type ApiRequest, askFirecracker } from "./http.ts";

/** What a call takes that writes or maps no memory. */
const usualMs = 10_000;
/** A snapshot is as long as the guest's memory; an emulated host writes 50 MB/s. */
const snapshotMs = 300_000;

export interface FirecrackerVersion {
  readonly major: number;
  readonly minor: number;
  readonly text: string;
}

/** Firecracker's API (src/firecracker/swagger/firecracker.yaml), as far as it is used once a VM is configured. */
export class FirecrackerApi {
  readonly #socketPath: string;
  readonly #quickMs: number;

  constructor(socketPath: string, quickMs = usualMs) {
    this.#socketPath = socketPath;
    this.#quickMs = quickMs;
  }

  /** @throws MachineError `monitor` */
  async version(): Promise<FirecrackerVersion> {
    const { firecracker_version: text } = await this.#get("/version", firecrackerAnswers.version);
    const [major = 0, minor = 0] = text.split(".").map(Number);
    return { major, minor, text };
  }

  /** @throws MachineError `monitor` */
  async state(): Promise<"Not started" | "Running" | "Paused"> {
    return (await this.#get("/", firecrackerAnswers.instance)).state;
  }

  pause(): Promise<void> {
    return this.#change("PATCH", "/vm", { state: "Paused" }, this.#quickMs);
  }

  resume(): Promise<void> {
    return this.#change("PATCH", "/vm", { state: "Resumed" }, this.#quickMs);
  }

  /** The VM must be paused; both files must not exist or are written over. */
  createSnapshot(): Promise<void> {
    const body = { snapshot_type: "Full", snapshot_path: snapshotPaths.state, mem_file_path: snapshotPaths.memory };
    return this.#change("PUT", "/snapshot/create", firecrackerSnapshot.parse(body), snapshotMs);
  }

  /** In a fresh process; the VM stays paused. */
  async loadSnapshot(): Promise<void> {
    await this.#change("PUT", "/snapshot/load", firecrackerLoad.parse(loadBody(await this.version())), snapshotMs);
  }

  async #get<T>(path: string, schema: { safeParse(value: unknown): { data?: T | undefined } }): Promise<T> {
    const { status, body } = await this.#ask({ method: "GET", path, timeoutMs: this.#quickMs });
    const { data } = schema.safeParse(body);
    if (status !== 200 || data === undefined) throw otherAnswer(`GET ${path}`, status);
    return data;
  }

  async #change(method: "PUT" | "PATCH", path: string, body: object, timeoutMs: number): Promise<void> {
    const { status } = await this.#ask({ method, path, body, timeoutMs });
    if (status !== 204) throw otherAnswer(`${method} ${path}`, status);
  }

  async #ask(ask: ApiRequest): Promise<ApiAnswer> {
    const answer = await askFirecracker(this.#socketPath, ask);
    if (answer.status < 400) return answer;
    const fault = firecrackerAnswers.fault.safeParse(answer.body);
    if (fault.data === undefined) throw otherAnswer(`${ask.method} ${ask.path}`, answer.status);
    throw new MachineError(
      "monitor",
      `Firecracker refused ${ask.method} ${ask.path}: ${printable(fault.data.fault_message)}`,
    );
  }
}

/**
 * From 1.16 on it sets the guest's clock by itself and can be told where the vsock's socket is. Before, the guest's
 * clock is set by the hello that follows in any case, and the socket has the same path in every jail.
 */
export function loadBody({ major, minor }: Pick<FirecrackerVersion, "major" | "minor">): FirecrackerLoad {
  const newer = major > 1 || minor >= 16;
  return {
    snapshot_path: snapshotPaths.state,
    mem_backend: { backend_type: "File", backend_path: snapshotPaths.memory },
    resume_vm: false,
    ...(newer ? { clock_realtime: true, vsock_override: { uds_path: jail.vsock } } : {}),
  };
}

const otherAnswer = (what: string, status: number): MachineError =>
  new MachineError("monitor", `Firecracker gave an answer of another kind (${status}) to ${what}`);
