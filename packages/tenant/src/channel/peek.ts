import { Code, ConnectError } from "@connectrpc/connect";

/**
 * The first message of a stream, and the stream with it in front.
 * @throws ConnectError `InvalidArgument` for an empty stream
 */
export async function peek<T>(messages: AsyncIterable<T>): Promise<{ first: T; all: AsyncIterable<T> }> {
  const iterator = messages[Symbol.asyncIterator]();
  const { done, value: first } = await iterator.next();
  if (done === true) throw new ConnectError("the stream is empty", Code.InvalidArgument);
  return { first, all: prepend(first, iterator) };
}

async function* prepend<T>(first: T, rest: AsyncIterator<T>): AsyncGenerator<T, void, void> {
  try {
    yield first;
    for (let item = await rest.next(); item.done !== true; item = await rest.next()) yield item.value;
  } finally {
    await rest.return?.();
  }
}
