import type { DescMethod, Message } from "@bufbuild/protobuf";
import type { CallOptions, ConnectRouter, HandlerContext, MethodImpl } from "@connectrpc/connect";
import type { GuestSession } from "@exai/machine/guest";
import { forwarded } from "./forwarded.ts";
import type { CallOpener } from "./opening.ts";
import { peek } from "./peek.ts";
import { toClientError } from "./statuses.ts";

/*
 * The way of Connect clients (a browser, curl): one forwarder per kind of call serves all forwarded methods. Messages
 * are decoded and encoded again, since the two protocols frame them differently; gRPC clients take relay.ts.
 */

type UnaryCall = (request: Message, options: CallOptions) => Promise<Message>;
type ServerStream = (request: Message, options: CallOptions) => AsyncIterable<Message>;
type ClientStream = (requests: AsyncIterable<Message>, options: CallOptions) => Promise<Message>;
type BidiStream = (requests: AsyncIterable<Message>, options: CallOptions) => AsyncIterable<Message>;

export class Forwarder {
  readonly #opener: CallOpener;

  constructor(opener: CallOpener) {
    this.#opener = opener;
  }

  register(router: ConnectRouter): void {
    for (const { method, guestMethod, guest } of forwarded) {
      const call = (session: GuestSession): unknown =>
        (session[guest] as unknown as Record<string, unknown>)[guestMethod.localName];
      router.rpc(method, this.#implementation(method, call));
    }
  }

  #implementation(method: DescMethod, call: (guest: GuestSession) => unknown): MethodImpl<DescMethod> {
    switch (method.methodKind) {
      case "unary":
        return asImplementation((request: Message, context: HandlerContext) => this.#unary(call, request, context));
      case "server_streaming":
        return asImplementation((request: Message, context: HandlerContext) =>
          this.#serverStream(call, request, context),
        );
      case "client_streaming":
        return asImplementation((requests: AsyncIterable<Message>, context: HandlerContext) =>
          this.#clientStream(call, requests, context),
        );
      case "bidi_streaming":
        return asImplementation((requests: AsyncIterable<Message>, context: HandlerContext) =>
          this.#bidiStream(call, requests, context),
        );
    }
  }

  async #unary(call: (guest: GuestSession) => unknown, request: Message, context: HandlerContext): Promise<Message> {
    try {
      const guest = await this.#opener.open(request, context);
      return await (call(guest) as UnaryCall)(request, { signal: context.signal });
    } catch (error) {
      throw toClientError(error);
    }
  }

  async *#serverStream(
    call: (guest: GuestSession) => unknown,
    request: Message,
    context: HandlerContext,
  ): AsyncGenerator<Message> {
    try {
      const guest = await this.#opener.open(request, context);
      yield* (call(guest) as ServerStream)(request, { signal: context.signal });
    } catch (error) {
      throw toClientError(error);
    }
  }

  async #clientStream(
    call: (guest: GuestSession) => unknown,
    requests: AsyncIterable<Message>,
    context: HandlerContext,
  ): Promise<Message> {
    try {
      const { first, all } = await peek(requests);
      const guest = await this.#opener.open(first, context);
      return await (call(guest) as ClientStream)(all, { signal: context.signal });
    } catch (error) {
      throw toClientError(error);
    }
  }

  async *#bidiStream(
    call: (guest: GuestSession) => unknown,
    requests: AsyncIterable<Message>,
    context: HandlerContext,
  ): AsyncGenerator<Message> {
    try {
      const { first, all } = await peek(requests);
      const guest = await this.#opener.open(first, context);
      yield* (call(guest) as BidiStream)(all, { signal: context.signal });
    } catch (error) {
      throw toClientError(error);
    }
  }
}

// The router's types know a method's messages; here they are the same on both sides and not looked at.
const asImplementation = (implementation: unknown): MethodImpl<DescMethod> => implementation as MethodImpl<DescMethod>;
