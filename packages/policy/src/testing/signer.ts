/** For tests only: signs what a tenant or a host would. Products sign with @exai/sdk. */
import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, randomUUID, sign } from "node:crypto";
import { audiences, type DataScope, jwsTypes } from "@exai/api";
import type { HostAnchor, TenantAnchor } from "@exai/api/host";
import { type HostId, newHostId, newTenantId, type TenantId, type WorkspaceId } from "@exai/base";

const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString("base64url");

/** A compact JWS of whatever header and claims, right or wrong. */
export function signJws(key: KeyObject, header: object, claims: object | string): string {
  const payload = typeof claims === "string" ? Buffer.from(claims).toString("base64url") : encode(claims);
  const input = `${encode(header)}.${payload}`;
  return `${input}.${sign(null, Buffer.from(input), key).toString("base64url")}`;
}

/** An Ed25519 key from 32 bytes: PKCS #8's fixed head (RFC 8410) and the seed. */
export const keyFromSeed = (seed: Uint8Array): KeyObject =>
  createPrivateKey({
    key: Buffer.concat([Buffer.from("302e020100300506032b657004220420", "hex"), seed]),
    format: "der",
    type: "pkcs8",
  });

export const rawPublicKey = (key: KeyObject): string => createPublicKey(key).export({ format: "jwk" }).x ?? "";

const header = (typ: string) => ({ alg: "EdDSA", typ });
const seconds = (ms: number) => Math.floor(ms / 1000);

/** A tenant with a key of its own. */
export class TestTenant {
  readonly key: KeyObject;
  readonly anchor: TenantAnchor;

  constructor(options: { tenant?: TenantId; key?: KeyObject; name?: string } = {}) {
    this.key = options.key ?? generateKeyPairSync("ed25519").privateKey;
    this.anchor = {
      tenant: options.tenant ?? newTenantId(),
      name: options.name ?? "acme",
      signingKey: rawPublicKey(this.key),
      logKey: Buffer.alloc(32, 9).toString("base64url"),
    };
  }

  /** Claims of an intent that is good as it stands. */
  claims(workspace: WorkspaceId, act: string, nowMs: number, more: object = {}): Record<string, unknown> {
    return {
      iss: this.anchor.tenant,
      aud: audiences.intent,
      sub: workspace,
      iat: seconds(nowMs),
      exp: seconds(nowMs) + 600,
      jti: randomUUID(),
      serial: nowMs,
      actor: "tester",
      act,
      ...(act === "create" ? { spec: testSpec } : {}),
      ...more,
    };
  }

  intent(workspace: WorkspaceId, act: string, nowMs: number, more: object = {}): string {
    return signJws(this.key, header(jwsTypes.intent), this.claims(workspace, act, nowMs, more));
  }

  controlToken(nowMs: number, more: object = {}): string {
    return signJws(this.key, header(jwsTypes.control), {
      ...controlBase(this.anchor.tenant, nowMs),
      role: "tenant",
      ...more,
    });
  }

  dataToken(host: HostId, scope: readonly DataScope[], nowMs: number, more: object = {}): string {
    return signJws(this.key, header(jwsTypes.data), {
      iss: this.anchor.tenant,
      aud: `${audiences.data}:${host}`,
      sub: "tester",
      scope,
      iat: seconds(nowMs),
      exp: seconds(nowMs) + 300,
      jti: randomUUID(),
      ...more,
    });
  }
}

export class TestHost {
  readonly key: KeyObject = generateKeyPairSync("ed25519").privateKey;
  readonly anchor: HostAnchor = { host: newHostId(), key: rawPublicKey(this.key), caCertificate: "" };

  controlToken(nowMs: number, more: object = {}): string {
    return signJws(this.key, header(jwsTypes.control), {
      ...controlBase(this.anchor.host, nowMs),
      role: "host",
      ...more,
    });
  }
}

const controlBase = (issuer: string, nowMs: number) => ({
  iss: issuer,
  aud: audiences.control,
  sub: "tester",
  iat: seconds(nowMs),
  exp: seconds(nowMs) + 300,
  jti: randomUUID(),
});

export const testSpec = {
  image: "a".repeat(64),
  cpus: 1,
  memoryMib: 128,
  diskMib: 1024,
  ttlSeconds: 0,
  labels: {},
};
