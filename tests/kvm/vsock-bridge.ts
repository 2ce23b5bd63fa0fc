import { chownSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { dirname, join } from "node:path";

/** A guest that dials port P of the host is connected by Firecracker to `<uds_path>_P`. */
export const vsockPort = 1024;

export interface VsockBridge extends AsyncDisposable {
  /** What the guest client connects to. */
  readonly path: string;
}

/**
 * Firecracker's guests dial the host; the guest client dials a socket. This joins the two: it listens where Firecracker
 * delivers, and where the client connects.
 */
export async function bridgeVsock(udsPath: string, uid: number): Promise<VsockBridge> {
  const held = new Set<Socket>();
  const waiting: Socket[] = [];
  const wanting: Socket[] = [];
  const pair = (): void => {
    for (;;) {
      const [guest, client] = [waiting[0], wanting[0]];
      if (guest === undefined || client === undefined) return;
      waiting.shift();
      wanting.shift();
      guest.pipe(client).pipe(guest);
      for (const [one, other] of [
        [guest, client],
        [client, guest],
      ] as const)
        one.on("close", () => other.destroy());
    }
  };
  const take = (queue: Socket[]) => (socket: Socket) => {
    held.add(socket);
    socket.on("error", () => undefined);
    queue.push(socket);
    pair();
  };
  const fromGuest = `${udsPath}_${vsockPort}`;
  const path = join(dirname(udsPath), "client.sock");
  const servers = [await listen(fromGuest, take(waiting)), await listen(path, take(wanting))];
  chownSync(fromGuest, uid, uid);
  return {
    path,
    async [Symbol.asyncDispose]() {
      for (const socket of held) socket.destroy();
      await Promise.all(servers.map((server) => new Promise((closed) => server.close(closed))));
    },
  };
}

const listen = (path: string, onSocket: (socket: Socket) => void): Promise<Server> =>
  new Promise((resolve, reject) => {
    const server = createServer(onSocket);
    server.once("error", reject);
    server.listen(path, () => resolve(server));
  });
