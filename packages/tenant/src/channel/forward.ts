import type { DescMethod, DescService, Message } from "@bufbuild/protobuf";
import type { CallOptions, ConnectRouter, HandlerContext, MethodImpl } from "@connectrpc/connect";
import { WorkspaceFiles, WorkspacePorts, WorkspaceProcesses } from "@exai/api/workspace";
import type { GuestSession } from "@exai/machine";
import { type Admitted, admitted } from "./gate.ts";
import { peek } from "./peek.ts";
import type { Sessions } from "./sessions.ts";
import { toClientError } from "./statuses.ts";
import type { CallWitness } from "./witness.ts";

/*
 * The data plane's process, file and port services have the guest's methods and messages, name by name: one forwarder
 * per kind of call serves them all. Messages are decoded and encoded again on purpose: a client sees only what the
 * contract knows, whatever the guest put on its wire.
 */

type UnaryCall = (request: Message, options: CallOptions) => Promise<Message>;
type ServerStream = (request: Message, options: CallOptions) => AsyncIterable<Message>;
type ClientStream = (requests: AsyncIterable<Message>, options: CallOptions) => Promise<Message>;
type BidiStream = (requests: AsyncIterable<Message>, options: CallOptions) => AsyncIterable<Message>;

const services = [
  { service: WorkspaceProcesses, of: (guest: GuestSession) => guest.processes },
  { service: WorkspaceFiles, of: (guest: GuestSession) => guest.files },
  { service: WorkspacePorts, of: (guest: GuestSession) => guest.ports },
] as const;

export class Forwarder {
  readonly #sessions: Sessions;
  readonly #witness: CallWitness;

  constructor(sessions: Sessions, witness: CallWitness) {
    this.#sessions = sessions;
    this.#witness = witness;
  }

  register(router: ConnectRouter): void {
    for (const { service, of } of services) {
      for (const method of (service as DescService).methods) {
        const call = (guest: GuestSession): unknown =>
          (of(guest) as unknown as Record<string, unknown>)[method.localName];
        router.rpc(method, this.#implementation(method, call));
      }
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

  /** The guest's session, and the call's event durable: from here on the call may be made. */
  async #open(request: Message, context: HandlerContext): Promise<GuestSession> {
    const { principal, rule }: Admitted = admitted(context);
    const guest = await this.#sessions.acquire(principal.workspace, { signal: context.signal });
    await this.#witness.call(rule, principal, rule.subject(request as never));
    return guest;
  }

  async #unary(call: (guest: GuestSession) => unknown, request: Message, context: HandlerContext): Promise<Message> {
    try {
      const guest = await this.#open(request, context);
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
      const guest = await this.#open(request, context);
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
      const guest = await this.#open(first, context);
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
      const guest = await this.#open(first, context);
      yield* (call(guest) as BidiStream)(all, { signal: context.signal });
    } catch (error) {
      throw toClientError(error);
    }
  }
}

// The router's types know a method's messages; here they are the same on both sides and not looked at.
const asImplementation = (implementation: unknown): MethodImpl<DescMethod> => implementation as MethodImpl<DescMethod>;
