import { checkServerIdentity } from "node:tls";
import { create } from "@bufbuild/protobuf";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import { type PortFrame, PortFrameSchema } from "@exai/api/guest";
import { WorkspacePorts } from "@exai/api/workspace";
import { type Client, Signer, type Workspace } from "@exai/sdk";

const frameBytes = 65_536;
const frame = Buffer.alloc(frameBytes, 0x5a);

/**
 * One gRPC byte stream, client → channel → guest or back, with no file at either end: what a copy can't be faster than.
 * It is a port stream, the leanest that the data plane has, whose far end is a program in the guest that throws the
 * bytes away or makes them out of nothing. The client is bare too: no tree, no forward's local socket.
 */
export class PortStream implements Disposable {
  readonly #manager: Http2SessionManager;
  readonly #ports;

  /** @param workspace runs, so that its record says where its channel is */
  constructor(client: Client, workspace: Workspace) {
    const { profile, signingKey, publicKey } = client.loaded;
    const { endpoint } = workspace.record;
    const anchor = profile.hosts.find(({ host }) => host === endpoint?.host);
    if (endpoint === undefined || anchor === undefined) throw new Error("the workspace has no endpoint");
    const name = `${profile.tenant}.${anchor.host}.exai.internal`;
    const signer = new Signer({ tenant: profile.tenant, signingKey, publicKey, actor: "bench" });
    const token = signer.mintDataToken(anchor.host, workspace.id, ["ports"], 3600);
    this.#manager = new Http2SessionManager(
      endpoint.url,
      {},
      {
        ca: anchor.caCertificate,
        servername: name,
        checkServerIdentity: (_address, certificate) => checkServerIdentity(name, certificate),
        settings: { initialWindowSize: 1 << 20, enablePush: false },
      },
    );
    const transport = createGrpcTransport({
      baseUrl: endpoint.url,
      sessionManager: this.#manager,
      acceptCompression: [],
      interceptors: [
        (next) => (request) => {
          request.header.set("authorization", `Bearer ${token}`);
          return next(request);
        },
      ],
    });
    this.#ports = createClient(WorkspacePorts, transport);
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
    this.#manager.abort();
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
