import { audiences, controlClaims, type DataScope, dataClaims, jwsTypes, maxDataTokenSeconds } from "@exai/api";
import type { HostAnchor, TenantAnchor } from "@exai/api/host";
import type { HostId, TenantId, WorkspaceId } from "@exai/base";
import { PolicyError } from "./errors.ts";
import { checkBegun, checkNotExpired, claimedIssuer, openJws, parseClaims } from "./jws.ts";

/** Who calls the data plane, and what the tenant lets them do. */
export interface Principal {
  readonly tenant: TenantId;
  readonly subject: string;
  /** Absent: events of all the tenant's workspaces, and nothing else. */
  readonly workspace: WorkspaceId | undefined;
  readonly scopes: readonly DataScope[];
  readonly jti: string;
}

/** The one seam between a token and what its bearer may do. @throws PolicyError */
export type Authenticator = (token: string) => Promise<Principal>;

/** Longest life of a control-plane token, seconds. */
export const maxControlTokenSeconds = 600;

interface DataContext {
  readonly hostId: HostId;
  readonly nowMs: number;
}

/** @throws PolicyError */
export async function verifyDataToken(jws: string, anchor: TenantAnchor, context: DataContext): Promise<Principal> {
  const claims = parseClaims(dataClaims, await openJws(jws, jwsTypes.data, anchor.signingKey));
  if (claims.aud !== `${audiences.data}:${context.hostId}`) {
    throw new PolicyError("wrong-audience", "the token is meant for another host");
  }
  if (claims.iss !== anchor.tenant) throw new PolicyError("unknown-tenant", "the token names another tenant");
  const onlyEvents = claims.scope.every((scope) => scope === "events");
  if (claims.workspace === undefined && !onlyEvents) {
    throw new PolicyError("malformed", "a token without a workspace may have the scope events and no other");
  }
  checkBegun(claims, maxDataTokenSeconds, context.nowMs);
  checkNotExpired(claims, context.nowMs);
  const { sub: subject, workspace, scope: scopes, jti } = claims;
  return { tenant: claims.iss, subject, workspace, scopes, jti };
}

export type ControlPrincipal =
  | { readonly role: "tenant"; readonly tenant: TenantId; readonly subject: string; readonly jti: string }
  | { readonly role: "host"; readonly host: HostId; readonly subject: string; readonly jti: string };

export interface ControlAnchors {
  readonly tenants: ReadonlyMap<string, TenantAnchor>;
  readonly hosts: ReadonlyMap<string, HostAnchor>;
}

/** @throws PolicyError */
export async function verifyControlToken(
  jws: string,
  anchors: ControlAnchors,
  nowMs: number,
): Promise<ControlPrincipal> {
  const issuer = claimedIssuer(jws) ?? "";
  const tenant = anchors.tenants.get(issuer);
  const host = anchors.hosts.get(issuer);
  const key = tenant?.signingKey ?? host?.key;
  if (key === undefined) {
    throw new PolicyError(
      "unknown-tenant",
      "nobody of this id is enrolled here; check the profile, or enrol the tenant",
    );
  }
  const raw = await openJws(jws, jwsTypes.control, key);
  const audience = typeof raw === "object" && raw !== null && "aud" in raw ? raw.aud : undefined;
  if (audience !== audiences.control)
    throw new PolicyError("wrong-audience", "the token is not meant for this service");
  const claims = parseClaims(controlClaims, raw);
  checkBegun(claims, maxControlTokenSeconds, nowMs);
  checkNotExpired(claims, nowMs);
  const { sub: subject, jti } = claims;
  // The verified issuer once more, and the role that its key stands for: neither follows from the other.
  if (claims.role === "tenant" && tenant?.tenant === claims.iss) {
    return { role: "tenant", tenant: tenant.tenant, subject, jti };
  }
  if (claims.role === "host" && host?.host === claims.iss) return { role: "host", host: host.host, subject, jti };
  throw new PolicyError("unknown-tenant", "the token claims a role that its key does not have");
}

/** @throws PolicyError `wrong-workspace`, `scope-missing` */
export function authorise(principal: Principal, wanted: { workspace: WorkspaceId; scope: DataScope }): void {
  const events = principal.workspace === undefined && wanted.scope === "events";
  if (principal.workspace !== wanted.workspace && !events) {
    throw new PolicyError("wrong-workspace", "the token is for another workspace");
  }
  if (!principal.scopes.includes(wanted.scope)) {
    throw new PolicyError("scope-missing", `the token lacks the scope ${wanted.scope}; sign one that has it`);
  }
}
