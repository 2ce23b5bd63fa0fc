import { createHash } from "node:crypto";
import { createServer } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { errorCode } from "@exai/base";
import { HostError } from "../errors.ts";

/**
 * One supervisor for a home. The lock is an abstract UNIX socket (unix(7)): the kernel frees it when its holder dies,
 * however it dies, and it leaves no file.
 * @param patienceMs for a holder that is about to end
 * @throws HostError `locked`
 */
export async function lockHome(home: string, patienceMs = 0): Promise<Disposable> {
  for (const untilMs = Date.now() + patienceMs; ; ) {
    const lock = await tryLock(home);
    if (lock !== undefined) return lock;
    if (Date.now() >= untilMs) break;
    await delay(20);
  }
  throw new HostError("locked", `another 'exai up' runs on ${home}; see 'exai status' or choose another EXAI_HOME`);
}

async function tryLock(home: string): Promise<Disposable | undefined> {
  const name = `\0exai-${createHash("sha256").update(home).digest("hex").slice(0, 32)}`;
  const server = createServer((socket) => socket.destroy());
  try {
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(name, () => resolve());
    });
  } catch (cause) {
    if (errorCode(cause) !== "EADDRINUSE") throw cause;
    return undefined;
  }
  server.unref();
  return { [Symbol.dispose]: () => void server.close() };
}
