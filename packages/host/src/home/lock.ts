import { createHash } from "node:crypto";
import { createServer } from "node:net";
import { errorCode } from "@exai/base";
import { HostError } from "../errors.ts";

/**
 * One supervisor for a home. The lock is an abstract UNIX socket (unix(7)): the kernel frees it when its holder dies,
 * however it dies, and it leaves no file.
 * @throws HostError `locked`
 */
export async function lockHome(home: string): Promise<Disposable> {
  const name = `\0exai-${createHash("sha256").update(home).digest("hex").slice(0, 32)}`;
  const server = createServer((socket) => socket.destroy());
  try {
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(name, () => resolve());
    });
  } catch (cause) {
    if (errorCode(cause) !== "EADDRINUSE") throw cause;
    throw new HostError("locked", `another 'exai up' runs on ${home}; see 'exai status' or choose another EXAI_HOME`);
  }
  server.unref();
  return { [Symbol.dispose]: () => void server.close() };
}
