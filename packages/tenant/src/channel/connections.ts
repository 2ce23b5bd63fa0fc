import type { Http2Session } from "node:http2";
import type { Logger } from "@exai/base";
import { channelLimits } from "./limits.ts";

interface Connection {
  trusted: boolean;
  /** Until a stranger must have shown a token. */
  timer: NodeJS.Timeout;
}

/** The open connections, of strangers and of callers that have shown a good token, and what each may hold. */
export class Connections implements Disposable {
  readonly #all = new Map<Http2Session, Connection>();
  readonly #logger: Logger;
  #strangers = 0;

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  add(session: Http2Session): void {
    session.on("error", () => undefined); // its calls see it
    // The oldest stranger makes room: who has a token shows it at once, and who holds connections open has none.
    if (this.#strangers >= channelLimits.strangers) this.#oldestStranger()?.destroy();
    if (this.#all.size >= channelLimits.sessions) {
      this.#logger.log("warn", "a connection was refused: too many are open", { open: this.#all.size });
      session.destroy();
      return;
    }
    this.#strangers++;
    const connection: Connection = {
      trusted: false,
      timer: setTimeout(() => session.destroy(), channelLimits.strangerMs),
    };
    this.#all.set(session, connection);
    session.once("close", () => this.#remove(session, connection));
    session.setTimeout(channelLimits.idleMs, () => session.close());
  }

  /** Called for every call with a good token. */
  trust(session: Http2Session): void {
    const connection = this.#all.get(session);
    if (connection === undefined || connection.trusted) return;
    connection.trusted = true;
    this.#strangers--;
    clearTimeout(connection.timer);
    session.settings({ initialWindowSize: channelLimits.streamWindowBytes });
    session.setLocalWindowSize(channelLimits.sessionWindowBytes);
    connection.timer = setInterval(() => ping(session), channelLimits.pingMs);
    connection.timer.unref();
  }

  #oldestStranger(): Http2Session | undefined {
    return this.#all.entries().find(([session, { trusted }]) => !trusted && !session.destroyed)?.[0];
  }

  #remove(session: Http2Session, connection: Connection): void {
    clearTimeout(connection.timer);
    if (!connection.trusted) this.#strangers--;
    this.#all.delete(session);
  }

  [Symbol.dispose](): void {
    for (const session of this.#all.keys()) session.destroy();
  }
}

/** A client that vanished without a word would keep its calls, and so a guest's streams, open for ever. */
function ping(session: Http2Session): void {
  if (session.destroyed || session.closed) return;
  const timer = setTimeout(() => session.destroy(), channelLimits.pingTimeoutMs);
  timer.unref();
  session.ping(() => clearTimeout(timer));
}
