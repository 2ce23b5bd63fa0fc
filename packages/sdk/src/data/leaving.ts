import type { DescService } from "@bufbuild/protobuf";
import { type CallOptions, type Client, createClient, type Transport } from "@connectrpc/connect";

type StreamMethod = (input: unknown, options?: CallOptions) => AsyncIterable<unknown>;

/**
 * Connect's client, except that leaving a `for await` early ends the call: Connect's own iterators have no `return`, and
 * the host would keep the call, and its window, for as long as the connection lasts.
 */
export function createLeavingClient<T extends DescService>(service: T, transport: Transport): Client<T> {
  const client = createClient(service, transport);
  const methods = client as Record<string, unknown>;
  for (const method of service.methods) {
    if (method.methodKind !== "server_streaming" && method.methodKind !== "bidi_streaming") continue;
    methods[method.localName] = endOnReturn(methods[method.localName] as StreamMethod);
  }
  return client;
}

function endOnReturn(call: StreamMethod): StreamMethod {
  return (input, options = {}) => ({
    [Symbol.asyncIterator]() {
      const leave = new AbortController();
      const signal = options.signal === undefined ? leave.signal : AbortSignal.any([options.signal, leave.signal]);
      const inner = call(input, { ...options, signal })[Symbol.asyncIterator]();
      return {
        next: () => inner.next(),
        async return(value?: unknown) {
          leave.abort();
          return { done: true, value };
        },
      };
    },
  });
}
