import { Code, ConnectError } from "@connectrpc/connect";
import { channelLimits } from "./limits.ts";

const prefixBytes = 5;

/**
 * Reads one gRPC message (flags, length, bytes) off the front of a body.
 * @returns its bytes, and the whole body with it in front again
 * @throws ConnectError `InvalidArgument` for an empty body, `Unimplemented` for a compressed message,
 *   `ResourceExhausted` for one that is too long
 */
export async function firstMessage(
  body: AsyncIterable<Uint8Array>,
): Promise<{ message: Uint8Array; all: AsyncIterable<Uint8Array> }> {
  const iterator = body[Symbol.asyncIterator]();
  let held: Uint8Array = new Uint8Array(0);
  for (;;) {
    const end = messageEnd(held);
    if (end !== undefined && held.length >= end) {
      return { message: held.subarray(prefixBytes, end), all: prepend(held, iterator) };
    }
    const { done, value } = await iterator.next();
    if (done === true) throw new ConnectError("the request ends before its first message does", Code.InvalidArgument);
    held = held.length === 0 ? value : Buffer.concat([held, value]);
  }
}

function messageEnd(bytes: Uint8Array): number | undefined {
  if (bytes.length < prefixBytes) return undefined;
  if (bytes[0] !== 0) throw new ConnectError("compressed messages are not taken", Code.Unimplemented);
  const length = new DataView(bytes.buffer, bytes.byteOffset).getUint32(1);
  if (length > channelLimits.messageBytes) throw new ConnectError("the message is too long", Code.ResourceExhausted);
  return prefixBytes + length;
}

async function* prepend(first: Uint8Array, rest: AsyncIterator<Uint8Array>): AsyncGenerator<Uint8Array, void, void> {
  yield first;
  for (let item = await rest.next(); item.done !== true; item = await rest.next()) yield item.value;
}
