import { join } from "node:path";
import type { Message } from "@bufbuild/protobuf";
import { create } from "@bufbuild/protobuf";
import type { HandlerContext, ServiceImpl } from "@connectrpc/connect";
import type { MetricsResponse } from "@exai/api/guest";
import {
  ConsoleChunkSchema,
  type ConsoleRequest,
  type EventsRequest,
  type ReadyRequest,
  ReadyResponseSchema,
  SealedEvent_Kind,
  SealedEventSchema,
  type Workspace,
} from "@exai/api/workspace";
import type { Clock } from "@exai/base";
import { readConsole } from "./console.ts";
import { readAllSpools, type WrittenItem } from "./events.ts";
import { admitted } from "./gate.ts";
import { noVm } from "./guest-link.ts";
import { channelLimits } from "./limits.ts";
import type { Sessions } from "./sessions.ts";
import { toClientError } from "./statuses.ts";
import type { CallWitness } from "./witness.ts";

export interface WorkspaceServiceOptions {
  readonly vmFolder: string;
  readonly spoolFolder: string;
  readonly sessions: Sessions;
  readonly witness: CallWitness;
  readonly clock: Clock;
}

/** What the channel answers itself: readiness, console, sealed events, metrics. */
export function createWorkspaceService(o: WorkspaceServiceOptions): ServiceImpl<typeof Workspace> {
  async function ready(request: ReadyRequest, context: HandlerContext) {
    const { principal } = admitted(context);
    const startMs = o.clock.monotonicMs();
    const asked = request.timeoutMs === 0 ? channelLimits.readyDefaultMs : request.timeoutMs;
    const timeoutMs = Math.min(asked, channelLimits.readyMostMs);
    try {
      const here = principal.workspace === undefined ? undefined : o.sessions.peek(principal.workspace);
      const guest = here ?? (await o.sessions.acquire(principal.workspace, { timeoutMs, signal: context.signal }));
      const waitedMs = here === undefined ? Math.round(o.clock.monotonicMs() - startMs) : 0;
      return create(ReadyResponseSchema, { guest: guest.hello, waitedMs });
    } catch (error) {
      throw toClientError(error);
    }
  }

  async function* console(request: ConsoleRequest, context: HandlerContext) {
    const { principal } = admitted(context);
    try {
      await witnessed(request, context);
      const { workspace } = principal;
      if (workspace === undefined || !o.sessions.has(workspace)) throw noVm();
      for await (const data of readConsole(join(o.vmFolder, workspace), request.follow, context.signal)) {
        yield create(ConsoleChunkSchema, { data });
      }
    } catch (error) {
      throw toClientError(error);
    }
  }

  async function* events(request: EventsRequest, context: HandlerContext) {
    try {
      await witnessed(request, context);
      const { follow, last } = request;
      for await (const each of readAllSpools(o.spoolFolder, { follow, last, signal: context.signal })) {
        yield sealedEvent(each);
      }
    } catch (error) {
      throw toClientError(error);
    }
  }

  async function metrics(_request: unknown, context: HandlerContext): Promise<MetricsResponse> {
    try {
      const guest = await o.sessions.acquire(admitted(context).principal.workspace, { signal: context.signal });
      return await guest.machine.metrics({}, { signal: context.signal });
    } catch (error) {
      throw toClientError(error);
    }
  }

  async function witnessed(request: Message, context: HandlerContext): Promise<void> {
    const { principal, rule } = admitted(context);
    await o.witness.call(rule, principal, rule.subject(request as never));
  }

  return { ready, console, events, metrics };
}

function sealedEvent({ writer, item }: WrittenItem) {
  const sequence = BigInt(item.sequence);
  if (item.kind === "broken") return create(SealedEventSchema, { writer, sequence, kind: SealedEvent_Kind.BROKEN });
  const kind = item.kind === "gap" ? SealedEvent_Kind.GAP : SealedEvent_Kind.UNSPECIFIED;
  return create(SealedEventSchema, { writer, sequence, sealed: item.payload, kind });
}
