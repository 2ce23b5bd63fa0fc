/** For tests only: the cases of spec/vectors/intents.json, made from fixed keys and times (Ed25519 is deterministic). */
import { audiences, jwsTypes } from "@exai/api";
import { parseTenantId, parseWorkspaceId } from "@exai/base";
import { thumbprintOf } from "../keys.ts";
import { keyFromSeed, rawPublicKey, signJws, TestTenant, testSpec } from "./signer.ts";

const nowMs = 1_900_000_000_000;
const now = nowMs / 1000;
const workspace = parseWorkspaceId("wwwwwwwwwwwwwwwwwwww");
const acme = new TestTenant({
  tenant: parseTenantId("aaaaaaaaaaaaaaaaaaaa"),
  name: "acme",
  key: keyFromSeed(Buffer.alloc(32, 1)),
});
const stranger = keyFromSeed(Buffer.alloc(32, 2));
const base = {
  iss: acme.anchor.tenant,
  aud: audiences.intent,
  sub: workspace,
  iat: now,
  exp: now + 600,
  actor: "alice",
};
const create = { ...base, jti: "create-1", serial: nowMs, act: "create", spec: testSpec };
const header = { alg: "EdDSA", typ: jwsTypes.intent };

const signed = (claims: object | string, more: object = {}, key = acme.key) =>
  signJws(key, { ...header, ...more }, claims);
const good = signed(create);
const [head = "", payload = "", signature = ""] = good.split(".");
const unsignedHeader = Buffer.from(JSON.stringify({ alg: "none", typ: jwsTypes.intent })).toString("base64url");

interface Vector {
  readonly name: string;
  readonly jws: string;
  /** `ok`, or the code of the refusal. */
  readonly expect: string;
}

const vector = (name: string, expect: string, jws: string): Vector => ({ name, expect, jws });

/** Each is verified under acme's anchor at `nowMs`. */
const single: readonly Vector[] = [
  vector("a creation", "ok", good),
  vector("a stop", "ok", signed({ ...base, jti: "stop-001", serial: nowMs, act: "stop" })),
  vector("with the key's thumbprint", "ok", signed(create, { kid: thumbprintOf(acme.anchor.signingKey) })),
  vector("a clock that is 30 s ahead", "ok", signed({ ...create, iat: now + 30 })),
  vector("ended 29 s ago", "ok", signed({ ...create, iat: now - 600, exp: now - 29 })),
  vector(
    "a member named twice: the last counts",
    "ok",
    signed(JSON.stringify(create).replace("{", '{"act":"destroy",')),
  ),
  vector("another's key", "bad-signature", signed(create, {}, stranger)),
  vector("another key's thumbprint", "bad-signature", signed(create, { kid: thumbprintOf(rawPublicKey(stranger)) })),
  vector("a changed payload", "bad-signature", `${head}.${payload.slice(0, -4)}AAAA.${signature}`),
  vector("a signature of zeros", "bad-signature", `${head}.${payload}.${Buffer.alloc(64).toString("base64url")}`),
  vector("no signature", "bad-signature", `${head}.${payload}.`),
  vector("alg none", "malformed", `${unsignedHeader}.${payload}.`),
  vector("alg HS256", "malformed", signed(create, { alg: "HS256" })),
  vector("alg Ed25519 (RFC 9864)", "malformed", signed(create, { alg: "Ed25519" })),
  vector("a data-plane token's typ", "wrong-type", signed(create, { typ: jwsTypes.data })),
  vector("typ in capitals", "wrong-type", signed(create, { typ: jwsTypes.intent.toUpperCase() })),
  vector("typ with a media type's prefix", "wrong-type", signed(create, { typ: `application/${jwsTypes.intent}` })),
  vector("without typ", "malformed", signJws(acme.key, { alg: "EdDSA" }, create)),
  vector("crit", "malformed", signed(create, { crit: ["b64"], b64: false })),
  vector("a key in the header", "malformed", signed(create, { jwk: { kty: "OKP" } })),
  vector("the control plane's audience", "wrong-audience", signed({ ...create, aud: audiences.control })),
  vector("a list of audiences", "wrong-audience", signed({ ...create, aud: [audiences.intent] })),
  vector("another tenant's name", "unknown-tenant", signed({ ...create, iss: "bbbbbbbbbbbbbbbbbbbb" })),
  vector("31 s in the future", "not-yet-valid", signed({ ...create, iat: now + 31 })),
  vector("ended 30 s ago", "expired", signed({ ...create, iat: now - 600, exp: now - 30 })),
  vector("longer than an hour", "too-long-lived", signed({ ...create, exp: now + 3601 })),
  vector("ends before it begins", "malformed", signed({ ...create, exp: now })),
  vector("an unknown claim", "malformed", signed({ ...create, nbf: now })),
  vector("an unknown act", "malformed", signed({ ...base, jti: "open-001", serial: 1, act: "open" })),
  vector("a stop with a spec", "malformed", signed({ ...create, act: "stop" })),
  vector("an image by name", "malformed", signed({ ...create, spec: { ...testSpec, image: "base:latest" } })),
  vector("an id that is a path", "malformed", signed({ ...create, sub: "../../../../etc/pass" })),
  vector("a name with a new line", "malformed", signed({ ...create, spec: { ...testSpec, name: "a\nb" } })),
  vector("a prototype as label", "malformed", signed(JSON.stringify(create).replace('"labels":{}', '"__proto__":{}'))),
  vector("times as text", "malformed", signed({ ...create, exp: String(now + 600) })),
  vector("a fractional serial", "malformed", signed({ ...create, serial: 1.5 })),
  vector("not JSON", "malformed", signed("{")),
  vector("an array", "wrong-audience", signed("[]")),
  vector("two parts", "malformed", `${head}.${payload}`),
  vector("four parts", "malformed", `${good}.x`),
  vector("empty", "malformed", ""),
  vector("too long", "malformed", `${head}.${"A".repeat(9000)}.${signature}`),
];

const step = (act: string, serial: number, jti: string, more: object = {}) =>
  signed({ ...base, jti, serial, act, ...(act === "create" ? { spec: testSpec } : {}), ...more });
const made = step("create", 10, "create-1");
const stop = step("stop", 20, "stop-020");
const start = step("start", 30, "start-30");
const destroy = step("destroy", 40, "destroy-40");
const withTtl = step("create", 10, "create-1", { spec: { ...testSpec, ttlSeconds: 60 } });

interface LedgerStep {
  readonly atMs: number;
  readonly intents: readonly string[];
  /** State after it: `empty`, `running`, `stopped`, `destroyed by intent`, `destroyed by ttl`. */
  readonly expect: string;
  readonly refused: readonly string[];
}
const at = (
  seconds: number,
  intents: readonly string[],
  expect: string,
  refused: readonly string[] = [],
): LedgerStep => ({
  atMs: nowMs + seconds * 1000,
  intents,
  expect,
  refused,
});

/** What a control plane may hand over, poll by poll. */
const sequences: readonly { name: string; steps: readonly LedgerStep[] }[] = [
  { name: "all at once, in any order", steps: [at(0, [destroy, start, made, stop], "destroyed by intent")] },
  { name: "all again at each poll", steps: [at(0, [made, stop], "stopped"), at(1, [made, stop, start], "running")] },
  {
    name: "an older one, held back",
    steps: [at(0, [made, start], "running"), at(1, [stop], "running", ["older-serial"])],
  },
  { name: "stop left out, later sent again", steps: [at(0, [made, stop], "stopped"), at(1, [made], "stopped")] },
  { name: "no creation", steps: [at(0, [start, destroy], "empty", ["not-created", "not-created"])] },
  { name: "an expired creation", steps: [at(631, [made], "empty", ["expired"])] },
  { name: "a creation that was taken in time", steps: [at(0, [made], "running"), at(9999, [made], "running")] },
  { name: "an expired start", steps: [at(0, [made, stop], "stopped"), at(631, [start], "stopped", ["expired"])] },
  {
    name: "a second creation",
    steps: [at(0, [made], "running"), at(1, [step("create", 50, "create-2")], "running", ["created-already"])],
  },
  {
    name: "start and creation after destroy",
    steps: [
      at(0, [made, destroy], "destroyed by intent"),
      at(1, [made], "destroyed by intent"),
      at(2, [step("start", 50, "start-50")], "destroyed by intent", ["destroyed"]),
      at(3, [step("create", 60, "create-3")], "destroyed by intent", ["created-already"]),
    ],
  },
  {
    name: "the TTL",
    steps: [at(0, [withTtl], "running"), at(59, [], "running"), at(60, [start], "destroyed by ttl", ["destroyed"])],
  },
  {
    name: "another workspace's intent",
    steps: [
      at(0, [made], "running"),
      at(1, [step("destroy", 50, "destroy-50", { sub: "vvvvvvvvvvvvvvvvvvvv" })], "running", ["other-workspace"]),
    ],
  },
];

export const vectors = { anchor: acme.anchor, workspace, nowMs, intents: single, sequences } as const;
