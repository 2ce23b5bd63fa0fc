import { IpcError } from "./contract.ts";

/** Longest line in bytes, both ways; a peer that sends more is cut off. */
export const maxFrameBytes = 1 << 20;

export interface RequestFrame {
  readonly id: number;
  readonly method: string;
  readonly params: unknown;
}

export type ResponseFrame =
  | { readonly id: number; readonly result: unknown }
  | { readonly id: number; readonly error: { readonly code: string; readonly message: string } };

export const encodeFrame = (frame: RequestFrame | ResponseFrame): string => `${JSON.stringify(frame)}\n`;

export interface Line {
  readonly value: unknown;
  readonly bytes: number;
}

/** Cuts a byte stream into JSON lines, with a bound on what is kept. */
export class FrameReader {
  #kept: Buffer[] = [];
  #keptBytes = 0;

  /** @throws IpcError `bad-frame` when a line is too long or is not JSON */
  *push(chunk: Buffer): Generator<Line> {
    let from = 0;
    for (let at = chunk.indexOf(10); at >= 0; at = chunk.indexOf(10, from)) {
      const line = Buffer.concat([...this.#kept, chunk.subarray(from, at)]);
      this.#kept = [];
      this.#keptBytes = 0;
      from = at + 1;
      if (line.length > maxFrameBytes) throw new IpcError("bad-frame", "a line is too long");
      yield { value: parseJson(line), bytes: line.length };
    }
    if (from === chunk.length) return;
    this.#kept.push(chunk.subarray(from));
    this.#keptBytes += chunk.length - from;
    if (this.#keptBytes > maxFrameBytes) throw new IpcError("bad-frame", "a line is too long");
  }
}

function parseJson(line: Buffer): unknown {
  try {
    return JSON.parse(line.toString("utf8"));
  } catch (cause) {
    throw new IpcError("bad-frame", "a line is not JSON", { cause });
  }
}

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null;

/** @throws IpcError `bad-frame` */
export function asRequest(value: unknown): RequestFrame {
  if (isRecord(value) && Number.isSafeInteger(value["id"]) && typeof value["method"] === "string") {
    return { id: Number(value["id"]), method: value["method"], params: value["params"] };
  }
  throw new IpcError("bad-frame", "a line is not a request");
}

/** @throws IpcError `bad-frame` */
export function asResponse(value: unknown): ResponseFrame {
  if (isRecord(value) && Number.isSafeInteger(value["id"])) {
    const id = Number(value["id"]);
    const error = value["error"];
    if (isRecord(error)) return { id, error: { code: String(error["code"]), message: String(error["message"]) } };
    if ("result" in value) return { id, result: value["result"] };
  }
  throw new IpcError("bad-frame", "a line is not a response");
}
