import { create } from "@bufbuild/protobuf";
import { createClient } from "@connectrpc/connect";
import { type PortFrame, PortFrameSchema } from "@exai/api/guest";
import { WorkspacePorts } from "@exai/api/workspace";
import type { Client, Workspace } from "@exai/sdk";
import { type RawPlane, rawPlane } from "../../tests/support/raw-plane.ts";

const frameBytes = 65_536;
const frame = Buffer.alloc(frameBytes, 0x5a);

/**
 * One gRPC byte stream, client → channel → guest or back, with no file at either end: what a copy can't be faster than.
 * It is a port stream, the leanest that the data plane has, whose far end is a program in the guest that throws the
 * bytes away or makes them out of nothing. The client is bare too: no tree, no forward's local socket.
 */
export class PortStream implements Disposable {
  readonly #plane: RawPlane;
  readonly #ports;

  /** @param workspace runs, so that its record says where its channel is */
  constructor(client: Client, workspace: Workspace) {
    const { endpoint } = workspace.record;
    if (endpoint === undefined) throw new Error("the workspace has no endpoint");
    this.#plane = rawPlane({ endpoint, client, workspace: workspace.id, scope: ["ports"] });
    this.#ports = createClient(WorkspacePorts, this.#plane.transport);
  }

  /** Sends `bytes` and waits for the one byte with which the other side says that it has read them all. */
  async up(port: number, bytes: number): Promise<void> {
    for await (const { frame } of this.#ports.connect(sending(port, bytes))) if (frame.case === "data") return;
    throw new Error("the guest did not take all");
  }

  /** Takes all that the other side sends. */
  async down(port: number, bytes: number): Promise<void> {
    let taken = 0;
    for await (const { frame } of this.#ports.connect(sending(port, 0)))
      if (frame.case === "data") taken += frame.value.length;
    if (taken !== bytes) throw new Error(`${taken} bytes came instead of ${bytes}`);
  }

  [Symbol.dispose](): void {
    this.#plane[Symbol.dispose]();
  }
}

async function* sending(port: number, bytes: number): AsyncGenerator<PortFrame> {
  yield create(PortFrameSchema, { frame: { case: "connect", value: { port } } });
  for (let sent = 0; sent < bytes; sent += frameBytes)
    yield create(PortFrameSchema, { frame: { case: "data", value: frame } });
}

/** In the guest: port 7001 reads all and answers with a byte, port 7002 sends `bytes` and closes. */
export const farEnd = (bytes: number): string => `
import socket, threading
def serve(port, handle):
    listener = socket.create_server(("127.0.0.1", port))
    while True:
        connection, _ = listener.accept()
        with connection: handle(connection)
def discard(connection):
    room, left = bytearray(1 << 20), ${bytes}
    while left:
        n = connection.recv_into(room)
        if n == 0: break
        left -= n
    if left == 0: connection.sendall(b"k")
def make(connection):
    piece = b"z" * (1 << 20)
    for _ in range(${bytes} >> 20): connection.sendall(piece)
threading.Thread(target=serve, args=(7001, discard), daemon=True).start()
threading.Thread(target=lambda: serve(7002, make), daemon=True).start()
print("listening", flush=True)
threading.Event().wait()
`;
export const ports = { discard: 7001, make: 7002 } as const;
