import { generateKeyPairSync } from "node:crypto";
import { join } from "node:path";
import type { ChannelConfig } from "@exai/api/host";
import { Workspace } from "@exai/api/workspace";
import { openSpool } from "@exai/audit";
import { type Clock, type Logger, systemClock } from "@exai/base";
import { type Authenticator, cacheTokens, verifyDataToken } from "@exai/policy";
import { serveAdmin } from "./admin.ts";
import { Forwarder } from "./forward.ts";
import { createGate } from "./gate.ts";
import { CallOpener } from "./opening.ts";
import { relayHandlers } from "./relay.ts";
import { serveDataPlane } from "./server.ts";
import { Sessions } from "./sessions.ts";
import { CallWitness } from "./witness.ts";
import { createWorkspaceService } from "./workspace-service.ts";

export interface Channel extends AsyncDisposable {
  readonly url: string;
  readonly sessions: Sessions;
}

export interface ChannelParts {
  readonly clock?: Clock;
  readonly logger: Logger;
  /** The one seam between a token and a principal. */
  readonly authenticate?: Authenticator;
}

/** The guest-facing process of one tenant: guests on one side, the tenant's clients on the other. */
export async function startChannel(config: ChannelConfig, parts: ChannelParts): Promise<Channel> {
  const { logger, clock = systemClock } = parts;
  const authenticate = cacheTokens(parts.authenticate ?? tenantTokens(config, clock), clock);
  const vmFolder = join(config.runFolder, "vm");
  await using stack = new AsyncDisposableStack();
  const spool = stack.use(
    await openSpool({
      folder: join(config.spoolFolder, "channel"),
      tenant: config.tenant.tenant,
      writer: "channel",
      logKey: config.tenant.logKey,
      quotaBytes: config.spoolQuotaBytes,
      gapKey: generateKeyPairSync("ed25519").privateKey,
      nowMs: () => clock.nowMs(),
    }),
  );
  const sessions = stack.use(new Sessions({ folder: vmFolder, clock, logger }));
  const witness = new CallWitness(spool, clock);
  const service = createWorkspaceService({ vmFolder, spoolFolder: config.spoolFolder, sessions, witness, clock });
  const gate = createGate(authenticate, witness);
  const opener = new CallOpener(sessions, witness);
  const { certificate, privateKey, listen } = config;
  const plane = stack.use(
    await serveDataPlane({
      certificate,
      privateKey,
      listen,
      logger,
      gate,
      grpc: relayHandlers(gate, opener),
      routes: (router) => {
        router.service(Workspace, service);
        new Forwarder(opener).register(router);
      },
    }),
  );
  const { adminSocket: socket, adminGid: gid } = config;
  stack.use(await serveAdmin({ socket, gid, sessions, url: plane.url, logger }));
  const running = stack.move();
  return { url: plane.url, sessions, [Symbol.asyncDispose]: () => running.disposeAsync() };
}

/** Tokens that the tenant's own key signed, for this host. */
const tenantTokens =
  (config: ChannelConfig, clock: Clock): Authenticator =>
  (token) =>
    verifyDataToken(token, config.tenant, { hostId: config.host, nowMs: clock.nowMs() });
