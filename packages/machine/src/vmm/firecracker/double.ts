import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { type Contract, faultOf } from "./double-contract.ts";

export interface DoubleOptions {
  socketPath: string;
  version: "1.12.1" | "1.16.2" | "1.17.0";
  state?: InstanceState;
}

type InstanceState = "Not started" | "Running" | "Paused";

/** As the real one, which takes no longer body (`--http-api-max-payload-size`). */
const maxBody = 51_200;

/**
 * A double of Firecracker's API, for tests only: no VM is behind it. It takes what the published contract of its version
 * takes (src/firecracker/swagger/firecracker.yaml), member by member, and refuses everything else as the real one does. Of
 * the real ones 1.12.1 was run; what the newer versions take is known from their contract alone.
 */
export class FirecrackerDouble implements AsyncDisposable {
  state: InstanceState;
  /** What was asked and granted: method, path and body. */
  readonly granted: { readonly call: string; readonly body: unknown }[] = [];
  readonly #server: Server;
  readonly #minor: number;
  readonly #version: string;

  static async start(options: DoubleOptions): Promise<FirecrackerDouble> {
    const double = new FirecrackerDouble(options);
    await new Promise<void>((resolve) => double.#server.listen(options.socketPath, resolve));
    return double;
  }

  private constructor({ version, state = "Not started" }: DoubleOptions) {
    this.state = state;
    this.#version = version;
    this.#minor = Number(version.split(".")[1]);
    this.#server = createServer((request, response) => void this.#serve(request, response));
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let text = "";
    for await (const part of request) text += part;
    const answer = this.#answer(`${request.method} ${request.url}`, text);
    const body = answer.body === undefined ? undefined : JSON.stringify(answer.body);
    response.writeHead(answer.status, { server: "Firecracker API", "content-type": "application/json" }).end(body);
  }

  #answer(call: string, text: string): { status: number; body?: unknown } {
    if (call === "GET /version") return { status: 200, body: { firecracker_version: this.#version } };
    const instance = { id: "double", state: this.state, vmm_version: this.#version, app_name: "Firecracker" };
    if (call === "GET /") return { status: 200, body: instance };
    const contract = contracts[call];
    if (contract === undefined) return refusal(`Invalid request method and/or path: ${call}.`);
    if (text.length > maxBody) return refusal("Request payload with size too big.");
    const fault = faultOf(contract, text, this.#minor) ?? this.#unfit(call);
    if (fault !== undefined) return refusal(fault);
    const body = JSON.parse(text) as { state?: string; resume_vm?: boolean };
    if (call === "PATCH /vm") this.state = body.state === "Paused" ? "Paused" : "Running";
    if (call === "PUT /snapshot/load") this.state = body.resume_vm === true ? "Running" : "Paused";
    this.granted.push({ call, body });
    return { status: 204 };
  }

  #unfit(call: string): string | undefined {
    if (call === "PUT /snapshot/load" && this.state !== "Not started")
      return "Load snapshot error: Loading a microVM snapshot not allowed after configuring boot-specific resources.";
    if (call === "PUT /snapshot/create" && this.state !== "Paused")
      return "Create snapshot error: Cannot save the microVM state: Operation not allowed: save/restore unavailable while running";
    if (call === "PATCH /vm" && this.state === "Not started")
      return "The requested operation is not supported before starting the microVM.";
    return undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

const refusal = (fault_message: string) => ({ status: 400, body: { fault_message } });

const contracts: Readonly<Record<string, Contract>> = {
  "PATCH /vm": { state: { kind: ["Paused", "Resumed"], required: true } },
  "PUT /snapshot/create": {
    snapshot_type: { kind: ["Full", "Diff"] },
    snapshot_path: { kind: "string", required: true },
    mem_file_path: { kind: "string", required: true },
  },
  "PUT /snapshot/load": {
    snapshot_path: { kind: "string", required: true },
    mem_file_path: { kind: "string" },
    mem_backend: {
      kind: {
        backend_type: { kind: ["File", "Uffd"], required: true },
        backend_path: { kind: "string", required: true },
      },
    },
    enable_diff_snapshots: { kind: "boolean" },
    resume_vm: { kind: "boolean" },
    clock_realtime: { kind: "boolean", sinceMinor: 16 },
    vsock_override: { kind: { uds_path: { kind: "string", required: true } }, sinceMinor: 16 },
  },
};
