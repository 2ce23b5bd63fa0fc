import { type KeyObject, randomBytes, sign, verify } from "node:crypto";
import {
  audiences,
  type ControlClaims,
  type DataClaims,
  type DataScope,
  type IntentClaims,
  intentClaims,
  jwsTypes,
  limits,
  maxDataTokenSeconds,
  type WorkspaceSpec,
} from "@exai/api";
import { type Clock, type HostId, systemClock, type TenantId, type WorkspaceId } from "@exai/base";
import { SdkError } from "./errors.ts";

type Claims = IntentClaims | DataClaims | ControlClaims;
type Act = { act: "create"; spec: WorkspaceSpec } | { act: "start" | "stop" | "destroy" };

/** How long a host may take an intent, in seconds: the most that the policy allows. */
const intentLifeSeconds = 3600;
const controlTokenSeconds = 300;
/** The same one serves until half its life is over, so that the control plane checks a signature once and not each time. */
const controlTokenReusedSeconds = 150;
/** A serial that another party claims is believed only this far ahead of our clock. */
const mostAheadMs = 3_600_000;

const base64url = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString("base64url");

/** Makes what only the tenant's key can make. Nothing here reads a network. */
export class Signer {
  readonly tenant: TenantId;
  readonly #key: KeyObject;
  readonly #publicKey: KeyObject;
  readonly #actor: string;
  readonly #clock: Clock;
  readonly #serials = new Map<WorkspaceId, number>();
  #control = { token: "", iat: Number.NEGATIVE_INFINITY };

  constructor(options: {
    tenant: TenantId;
    signingKey: KeyObject;
    publicKey: KeyObject;
    actor: string;
    clock?: Clock;
  }) {
    this.tenant = options.tenant;
    this.#key = options.signingKey;
    this.#publicKey = options.publicKey;
    this.#actor = options.actor.slice(0, 128) || "client";
    this.#clock = options.clock ?? systemClock;
  }

  /** A signed intent whose serial is higher than any that this signer made or was told of for the workspace. */
  signIntent(workspace: WorkspaceId, act: Act): string {
    const now = this.#clock.nowMs();
    const serial = Math.max(now, (this.#serials.get(workspace) ?? 0) + 1);
    this.#serials.set(workspace, serial);
    const iat = Math.floor(now / 1000);
    const base = {
      iss: this.tenant,
      aud: audiences.intent,
      sub: workspace,
      iat,
      exp: iat + intentLifeSeconds,
      jti: newJti(),
      serial,
      actor: this.#actor,
    } as const;
    // Parsed once here, so that a spec out of its limits fails before anything is sent.
    return this.#sign(jwsTypes.intent, intentClaims.parse({ ...base, ...act }));
  }

  /** Another client of this tenant may have signed a later intent; the host says its serial. */
  noteSerial(workspace: WorkspaceId, serial: number): void {
    if (serial > this.#clock.nowMs() + mostAheadMs) return;
    this.#serials.set(workspace, Math.max(serial, this.#serials.get(workspace) ?? 0));
  }

  /** For one host's channel and one workspace; without a workspace the only scope is `events`. */
  mintDataToken(host: HostId, workspace: WorkspaceId | undefined, scope: readonly DataScope[], seconds = 600): string {
    const iat = Math.floor(this.#clock.nowMs() / 1000);
    const claims: DataClaims = {
      iss: this.tenant,
      aud: `${audiences.data}:${host}`,
      sub: this.#actor,
      ...(workspace === undefined ? {} : { workspace }),
      scope: workspace === undefined ? ["events"] : [...scope],
      iat,
      exp: iat + Math.min(seconds, maxDataTokenSeconds),
      jti: newJti(),
    };
    return this.#sign(jwsTypes.data, claims);
  }

  /** For the control plane; the last one again while it is fresh. A clock that was set back makes a new one. */
  controlToken(): string {
    const iat = Math.floor(this.#clock.nowMs() / 1000);
    const age = iat - this.#control.iat;
    if (age < 0 || age >= controlTokenReusedSeconds) this.#control = { token: this.mintControlToken(), iat };
    return this.#control.token;
  }

  mintControlToken(): string {
    const iat = Math.floor(this.#clock.nowMs() / 1000);
    const claims: ControlClaims = {
      iss: this.tenant,
      aud: audiences.control,
      sub: this.#actor,
      role: "tenant",
      iat,
      exp: iat + controlTokenSeconds,
      jti: newJti(),
    };
    return this.#sign(jwsTypes.control, claims);
  }

  /**
   * What this tenant itself signed when it created the workspace. The control plane keeps the intent and may lie in
   * every other field, so name, labels and sizes are taken from here.
   * @throws SdkError `forged`
   */
  readCreation(workspace: WorkspaceId, jws: string): { spec: WorkspaceSpec; serial: number } {
    const claims = this.#verify(jws);
    if (claims.act !== "create" || claims.sub !== workspace || claims.iss !== this.tenant) throw forged(workspace);
    this.noteSerial(workspace, claims.serial);
    return { spec: claims.spec, serial: claims.serial };
  }

  #sign(typ: string, claims: Claims): string {
    const input = `${base64url({ alg: "EdDSA", typ })}.${base64url(claims)}`;
    const jws = `${input}.${sign(null, Buffer.from(input), this.#key).toString("base64url")}`;
    if (jws.length > limits.jwsBytes) throw new SdkError("invalid", "the labels and name are too long to be signed");
    return jws;
  }

  #verify(jws: string): IntentClaims {
    const [header, payload, signature] = jws.split(".");
    if (header === undefined || payload === undefined || signature === undefined) throw forged();
    const good = verify(
      null,
      Buffer.from(`${header}.${payload}`),
      this.#publicKey,
      Buffer.from(signature, "base64url"),
    );
    if (!good) throw forged();
    try {
      const { alg, typ } = JSON.parse(Buffer.from(header, "base64url").toString("utf8"));
      if (alg !== "EdDSA" || typ !== jwsTypes.intent) throw forged();
      return intentClaims.parse(JSON.parse(Buffer.from(payload, "base64url").toString("utf8")));
    } catch (cause) {
      throw cause instanceof SdkError ? cause : forged(undefined, cause);
    }
  }
}

const newJti = (): string => randomBytes(15).toString("base64url");

const forged = (workspace?: WorkspaceId, cause?: unknown): SdkError =>
  new SdkError(
    "forged",
    `the control plane answered with ${workspace ?? "a workspace"}, which this tenant did not sign; do not trust it`,
    { cause },
  );
