import { connect, type Socket } from "node:net";
import { type Contract, IpcError, type RequestOf, type ResponseOf } from "./contract.ts";
import { asResponse, encodeFrame, FrameReader, type ResponseFrame } from "./frames.ts";

export interface IpcClient<C extends Contract> extends Disposable {
  /**
   * @throws IpcError `connect` (nobody listens), `closed`, `timeout`, `bad-frame`, or `refused` with the peer's code.
   *   After `closed` or `timeout` the step may have been taken: callers must be able to repeat it.
   */
  call<M extends keyof C & string>(
    method: M,
    params: RequestOf<C, M>,
    options?: { timeoutMs?: number },
  ): Promise<ResponseOf<C, M>>;
}

interface Waiting {
  settle(frame: ResponseFrame): void;
  fail(error: IpcError): void;
}

/** A client that connects when it is first used and again after the peer was restarted. */
export function createIpcClient<C extends Contract>(path: string, contract: C): IpcClient<C> {
  const waiting = new Map<number, Waiting>();
  let socket: Socket | undefined;
  let nextId = 1;

  function failAll(error: IpcError): void {
    const all = [...waiting.values()];
    waiting.clear();
    for (const each of all) each.fail(error);
  }

  function open(): Socket {
    if (socket !== undefined && !socket.destroyed) return socket;
    const reader = new FrameReader();
    const opened = connect({ path });
    let connected = false;
    opened.on("connect", () => {
      connected = true;
    });
    opened.on("data", (chunk) => {
      try {
        for (const { value } of reader.push(chunk)) {
          const frame = asResponse(value);
          waiting.get(frame.id)?.settle(frame);
        }
      } catch (cause) {
        opened.destroy(cause instanceof Error ? cause : undefined);
      }
    });
    opened.on("error", () => undefined); // 'close' follows and fails who waits
    opened.on("close", () => {
      if (socket === opened) socket = undefined;
      failAll(
        connected
          ? new IpcError("closed", "the peer closed the connection before it answered")
          : new IpcError("connect", `nobody listens on ${path}`),
      );
    });
    socket = opened;
    return opened;
  }

  return {
    async call(method, params, options = {}) {
      const id = nextId++;
      const entry = contract[method];
      if (entry === undefined) throw new IpcError("bad-frame", `there is no method '${method}'`);
      const frame = await new Promise<ResponseFrame>((resolve, reject) => {
        const timeoutMs = options.timeoutMs ?? 30_000;
        const timer = setTimeout(() => {
          waiting.delete(id);
          reject(new IpcError("timeout", `'${method}' took longer than ${timeoutMs} ms`));
        }, timeoutMs);
        const done = () => {
          clearTimeout(timer);
          waiting.delete(id);
        };
        waiting.set(id, {
          settle: (answer) => {
            done();
            resolve(answer);
          },
          fail: (error) => {
            done();
            reject(error);
          },
        });
        open().write(encodeFrame({ id, method, params }));
      });
      if ("error" in frame) throw new IpcError("refused", frame.error.message, { remoteCode: frame.error.code });
      return entry.response.parse(frame.result) as never;
    },
    [Symbol.dispose]() {
      socket?.destroy();
      failAll(new IpcError("closed", "the client was closed"));
    },
  };
}
