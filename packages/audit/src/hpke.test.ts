import { generateKeyPairSync } from "node:crypto";
import { newTenantId } from "@exai/base";
import fc from "fast-check";
import { expect, test } from "vitest";
import { openBase, privateKeyFromRaw, publicKeyFromRaw, rawPublicKey, sealBase } from "./hpke.ts";
import { logRecipient, openEvent, sealEvent } from "./seal.ts";

const hex = (text: string): Buffer => Buffer.from(text, "hex");

// RFC 9180's test-vectors.json (cfrg/draft-irtf-cfrg-hpke): mode 0, KEM 0x0020, KDF 0x0001, AEAD 0x0002, first encryption.
const vector = {
  info: hex("4f6465206f6e2061204772656369616e2055726e"),
  skEm: hex("179d4b53b6365c45b600c4163b61d95cbc2f4d9e36f1695558dce265ab8bab11"),
  enc: hex("6c93e09869df3402d7bf231bf540fadd35cd56be14f97178f0954db94b7fc256"),
  skRm: hex("497b4502664cfea5d5af0b39934dac72242a74f8480451e1aee7d6a53320333d"),
  pkRm: hex("430f4b9859665145a6b1ba274024487bd66f03a2dd577d7753c68d7d7d00c00c"),
  aad: hex("436f756e742d30"),
  pt: hex("4265617574792069732074727574682c20747275746820626561757479"),
  ct: hex("e5d84cd531cfb583096e7cfa9641bd3079cf3a91cda813c52deb5f512be9931980a41de125a925cdad859d5b7a"),
};

test("seals and opens RFC 9180's vector byte for byte", () => {
  const ephemeral = { publicKey: publicKeyFromRaw(vector.enc), privateKey: privateKeyFromRaw(vector.skEm) };
  const recipient = { key: publicKeyFromRaw(vector.pkRm), raw: vector.pkRm };
  const sealed = sealBase(recipient, vector.info, vector.aad, vector.pt, ephemeral);
  expect(sealed.toString("hex")).toBe(Buffer.concat([vector.enc, vector.ct]).toString("hex"));
  const opened = openBase(privateKeyFromRaw(vector.skRm), vector.info, vector.aad, sealed);
  expect(opened.toString()).toBe("Beauty is truth, truth beauty");
  expect(rawPublicKey(privateKeyFromRaw(vector.skRm)).equals(vector.pkRm)).toBe(true);
});

test("no changed byte opens", () => {
  const keys = generateKeyPairSync("x25519");
  const recipient = { key: keys.publicKey, raw: rawPublicKey(keys.publicKey) };
  const sealed = sealBase(recipient, vector.info, vector.aad, vector.pt);
  fc.assert(
    fc.property(fc.nat(sealed.length - 1), fc.integer({ min: 1, max: 255 }), (at, flip) => {
      const changed = Buffer.from(sealed);
      changed[at] = (changed[at] ?? 0) ^ flip;
      // X25519 ignores the top bit of a public value, but the value itself is hashed in (RFC 9180, kem_context).
      expect(() => openBase(keys.privateKey, vector.info, vector.aad, changed)).toThrow(/does not open/);
    }),
    { numRuns: 200 },
  );
});

test("an event opens at its own place only", () => {
  const keys = generateKeyPairSync("x25519");
  const recipient = logRecipient(rawPublicKey(keys.publicKey).toString("base64url"));
  const place = { tenant: newTenantId(), writer: "channel", sequence: 7 };
  const event = { ts: 1, actor: "a", action: "file.read", target: "/x", outcome: "ok" } as const;
  const sealed = sealEvent(recipient, place, event);
  expect(openEvent(keys.privateKey, place, sealed)).toEqual(event);
  for (const other of [{ tenant: newTenantId() }, { writer: "broker" }, { sequence: 8 }]) {
    expect(() => openEvent(keys.privateKey, { ...place, ...other }, sealed)).toThrow(/does not open/);
  }
  expect(() => openEvent(generateKeyPairSync("x25519").privateKey, place, sealed)).toThrow(/does not open/);
});

test("an all-zero public value is refused", () => {
  const keys = generateKeyPairSync("x25519");
  expect(() => openBase(keys.privateKey, vector.info, vector.aad, Buffer.alloc(80))).toThrow(/does not open/);
});
