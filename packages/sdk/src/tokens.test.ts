import { generateKeyPairSync } from "node:crypto";
import { audiences, controlClaims, dataClaims, intentClaims, jwsTypes } from "@exai/api";
import { newHostId, newTenantId, newWorkspaceId } from "@exai/base";
import { compactVerify, decodeJwt, jwtVerify } from "jose";
import { describe, expect, it } from "vitest";
import { Signer } from "./tokens.ts";

const keys = generateKeyPairSync("ed25519");
const tenant = newTenantId();
const host = newHostId();
const spec = { image: "ab".repeat(32), cpus: 1, memoryMib: 256, diskMib: 256, ttlSeconds: 0, labels: {} };
const make = () => new Signer({ tenant, signingKey: keys.privateKey, publicKey: keys.publicKey, actor: "a person" });

describe("what a tenant signs, read by another library", () => {
  it("intents: their own type, audience and claims", async () => {
    const id = newWorkspaceId();
    const jws = make().signIntent(id, { act: "create", spec });
    const { payload, protectedHeader } = await compactVerify(jws, keys.publicKey, { algorithms: ["EdDSA"] });
    expect(protectedHeader).toEqual({ alg: "EdDSA", typ: jwsTypes.intent });
    const claims = intentClaims.parse(JSON.parse(Buffer.from(payload).toString()));
    expect(claims).toMatchObject({
      iss: tenant,
      aud: audiences.intent,
      sub: id,
      act: "create",
      spec,
      actor: "a person",
    });
  });

  it("data tokens: one host, one workspace, a short life", async () => {
    const id = newWorkspaceId();
    const token = make().mintDataToken(host, id, ["process", "files"]);
    const options = { typ: jwsTypes.data, audience: `exai-channel:${host}`, issuer: tenant };
    const claims = dataClaims.parse((await jwtVerify(token, keys.publicKey, options)).payload);
    expect(claims).toMatchObject({ workspace: id, scope: ["process", "files"] });
    expect(claims.exp - claims.iat).toBe(600);
    const eternal = dataClaims.parse(decodeJwt(make().mintDataToken(host, id, ["process"], 1e9)));
    expect(eternal.exp - eternal.iat).toBe(3600);
  });

  it("a token without a workspace is for events only", () => {
    const claims = dataClaims.parse(decodeJwt(make().mintDataToken(host, undefined, ["process", "files"])));
    expect(claims.scope).toEqual(["events"]);
    expect(claims.workspace).toBeUndefined();
  });

  it("control tokens can't pass for data tokens", async () => {
    const token = make().mintControlToken();
    const good = { typ: jwsTypes.control, audience: audiences.control };
    expect(controlClaims.parse((await jwtVerify(token, keys.publicKey, good)).payload).role).toBe("tenant");
    await expect(jwtVerify(token, keys.publicKey, { typ: jwsTypes.data })).rejects.toThrow();
  });

  it("one control token serves for half its life, and no longer when the clock is set back", () => {
    let nowMs = 1_000_000;
    const clock = { nowMs: () => nowMs, monotonicMs: () => 0, sleep: async () => undefined };
    const signer = new Signer({ tenant, signingKey: keys.privateKey, publicKey: keys.publicKey, actor: "a", clock });
    const at = (ms: number): string => {
      nowMs = ms;
      return signer.controlToken();
    };
    const first = at(1_000_000);
    expect(at(1_149_000)).toBe(first);
    const second = at(1_150_000);
    expect(second).not.toBe(first);
    expect(at(900_000)).not.toBe(second);
  });

  it("serials rise within a millisecond, and above what the host has seen", () => {
    const clock = { nowMs: () => 1000, monotonicMs: () => 0, sleep: async () => undefined };
    const signer = new Signer({ tenant, signingKey: keys.privateKey, publicKey: keys.publicKey, actor: "a", clock });
    const id = newWorkspaceId();
    const serial = (act: "stop" | "destroy") => decodeJwt<{ serial: number }>(signer.signIntent(id, { act })).serial;
    expect([serial("stop"), serial("stop")]).toEqual([1000, 1001]);
    signer.noteSerial(id, 5000);
    expect(serial("destroy")).toBe(5001);
    signer.noteSerial(id, 1e15); // a lie that would use up all serials
    expect(serial("destroy")).toBe(5002);
  });

  it("takes no creation of another workspace, tenant, kind or key", () => {
    const signer = make();
    const [a, b] = [newWorkspaceId(), newWorkspaceId()];
    const created = signer.signIntent(a, { act: "create", spec });
    expect(signer.readCreation(a, created).spec).toEqual(spec);
    expect(() => signer.readCreation(b, created)).toThrow(/did not sign/);
    expect(() => signer.readCreation(a, signer.signIntent(a, { act: "stop" }))).toThrow(/did not sign/);
    expect(() => signer.readCreation(a, signer.mintControlToken())).toThrow(/did not sign/);
    const stranger = generateKeyPairSync("ed25519");
    const foreign = new Signer({ tenant, signingKey: stranger.privateKey, publicKey: stranger.publicKey, actor: "x" });
    expect(() => signer.readCreation(a, foreign.signIntent(a, { act: "create", spec }))).toThrow(/did not sign/);
    for (const junk of ["", "a.b", "a.b.c", "..", created.slice(1)])
      expect(() => signer.readCreation(a, junk)).toThrow();
  });
});
