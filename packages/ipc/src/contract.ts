import { CodedError } from "@exai/base";

/** What a schema library's object must offer; keeps this package free of one. */
export interface Schema<T> {
  parse(value: unknown): T;
}

/** Methods of one socket: a closed set. Anything else is refused before a handler sees it. */
export type Contract = Readonly<
  Record<string, { readonly request: Schema<unknown>; readonly response: Schema<unknown> }>
>;

export type RequestOf<C extends Contract, M extends keyof C> = ReturnType<C[M]["request"]["parse"]>;
export type ResponseOf<C extends Contract, M extends keyof C> = ReturnType<C[M]["response"]["parse"]>;

export type Handlers<C extends Contract> = {
  readonly [M in keyof C]: (request: RequestOf<C, M>, signal: AbortSignal) => Promise<ResponseOf<C, M>>;
};

/**
 * `closed`: the peer went away before it answered. `refused`: the peer answered with an error; `remoteCode` is its
 * code. `timeout`: no answer in time. `bad-frame`: the peer broke the framing or the contract.
 */
export type IpcErrorCode = "closed" | "refused" | "timeout" | "bad-frame" | "connect";

export class IpcError extends CodedError<IpcErrorCode> {
  readonly remoteCode: string | undefined;
  constructor(code: IpcErrorCode, message: string, options?: { cause?: unknown; remoteCode?: string }) {
    super(code, message, options);
    this.remoteCode = options?.remoteCode;
  }
}
