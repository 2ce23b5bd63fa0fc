import { createHash, generateKeyPairSync } from "node:crypto";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type ImageManifest, imageStorePaths } from "@exai/api/host";
import { canonicalBytes } from "@exai/base";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { BlobVerifier, loadImage, manifestDigest, rawPublicKey, resolveImageName, signManifest } from "./index.ts";

const keys = generateKeyPairSync("ed25519");
const trusted = [rawPublicKey(keys.publicKey)];
let store: string;

beforeEach(() => {
  store = mkdtempSync(join(tmpdir(), "exai-image-"));
  mkdirSync(join(store, "blobs/sha256"), { recursive: true });
  mkdirSync(join(store, "manifests"));
});
afterEach(() => rmSync(store, { recursive: true }));

/** The header of a kernel, and no more. */
function elf(type = 2, machine = 62): Buffer {
  const header = Buffer.alloc(64);
  header.write("\x7fELF\x02\x01\x01", 0, "latin1");
  header.writeUInt16LE(type, 16);
  header.writeUInt16LE(machine, 18);
  return header;
}

function putBlob(content: string | Buffer) {
  const sha256 = createHash("sha256").update(content).digest("hex");
  writeFileSync(join(store, imageStorePaths.blob(sha256)), content);
  return { sha256, sizeBytes: Buffer.byteLength(content) };
}

function putImage(change: Partial<ImageManifest> = {}, key = keys.privateKey) {
  const manifest: ImageManifest = {
    schema: "exai.image/v1",
    name: "base",
    architecture: "x86_64",
    kernel: putBlob(elf()),
    kernelFlavor: "exai",
    initramfs: putBlob("initramfs"),
    rootfs: putBlob("rootfs"),
    rootfsFormat: "erofs",
    commandLine: "",
    ...change,
  };
  const digest = manifestDigest(manifest);
  writeFileSync(join(store, imageStorePaths.manifest(digest)), canonicalBytes(manifest));
  writeFileSync(
    join(store, imageStorePaths.signatures(digest)),
    JSON.stringify(signManifest(canonicalBytes(manifest), key)),
  );
  return { digest, manifest };
}

const load = (digest: string, keysOfHost: readonly string[] = trusted, blobs = new BlobVerifier()) =>
  loadImage(store, digest, keysOfHost, blobs);
const refused = (message: RegExp) =>
  expect.objectContaining({ code: "refused-image", message: expect.stringMatching(message) });

describe("loadImage", () => {
  it("gives the digests of a signed and whole image", async () => {
    const { digest, manifest } = putImage();
    const image = await load(digest);
    expect(image).toMatchObject({ digest, name: "base", kernelFlavor: "exai", rootfsType: "erofs" });
    expect(image.rootfs).toBe(manifest.rootfs.sha256);
    expect(image.paths.rootfs).toBe(join(store, imageStorePaths.blob(manifest.rootfs.sha256)));
  });

  it("refuses an image that an unknown key signed, or none", async () => {
    const stranger = generateKeyPairSync("ed25519");
    const { digest } = putImage({}, stranger.privateKey);
    await expect(load(digest)).rejects.toEqual(refused(/no trusted release key/));
    await expect(load(digest, [])).rejects.toEqual(refused(/no trusted release key/));
    expect((await load(digest, [...trusted, rawPublicKey(stranger.publicKey)])).digest).toBe(digest);
    rmSync(join(store, imageStorePaths.signatures(digest)));
    await expect(load(digest)).rejects.toEqual(refused(/is not signed/));
  });

  it("refuses another image's signature", async () => {
    const one = putImage();
    const other = putImage({ name: "other" });
    const bytes = JSON.stringify(signManifest(canonicalBytes(other.manifest), keys.privateKey));
    writeFileSync(join(store, imageStorePaths.signatures(one.digest)), bytes);
    await expect(load(one.digest)).rejects.toEqual(refused(/no trusted release key/));
  });

  it("refuses a manifest that is not the one asked for", async () => {
    const one = putImage();
    const other = putImage({ name: "other" });
    writeFileSync(join(store, imageStorePaths.manifest(one.digest)), canonicalBytes(other.manifest));
    await expect(load(one.digest)).rejects.toEqual(refused(/its digest differs/));
    await expect(load("0".repeat(64))).rejects.toEqual(refused(/there is no image/));
    await expect(load("../../../etc/passwd")).rejects.toEqual(refused(/64 lower-case hex/));
  });

  it("refuses another architecture", async () => {
    const { digest } = putImage({ architecture: "aarch64" });
    await expect(load(digest)).rejects.toEqual(refused(/is for aarch64, this host is x86_64/));
  });

  it("refuses a kernel that no VMM can load", async () => {
    const kernels = [Buffer.from("bzImage"), Buffer.alloc(64), elf().subarray(0, 63), elf(2, 183), elf(1)];
    const says = [/no uncompressed/, /no uncompressed/, /no uncompressed/, /no program for x86-64/, /no program for/];
    for (const [at, kernel] of kernels.entries())
      await expect(load(putImage({ kernel: putBlob(kernel) }).digest)).rejects.toEqual(refused(says[at] ?? /./));
    expect((await load(putImage({ kernel: putBlob(elf(3)) }).digest)).kernelFlavor).toBe("exai");
  });

  it("refuses a changed, cut, missing or replaced blob, also one that it knew", async () => {
    const { digest, manifest } = putImage();
    const path = join(store, imageStorePaths.blob(manifest.rootfs.sha256));
    const blobs = new BlobVerifier();
    await load(digest, trusted, blobs);
    writeFileSync(path, "r00tfs");
    await expect(load(digest, trusted, blobs)).rejects.toEqual(refused(/root file system was changed/));
    writeFileSync(path, "short");
    await expect(load(digest, trusted, blobs)).rejects.toEqual(refused(/has 5 bytes, its manifest says 6/));
    rmSync(path);
    await expect(load(digest, trusted, blobs)).rejects.toEqual(refused(/not in the store/));
    mkdirSync(path);
    await expect(load(digest, trusted, blobs)).rejects.toEqual(refused(/not a regular file/));
    rmSync(path, { recursive: true });
    writeFileSync(path, "rootfs");
    await load(digest, trusted, blobs);
  });

  it("hashes again when only the inode's times show a change", async () => {
    const { digest, manifest } = putImage();
    const path = join(store, imageStorePaths.blob(manifest.rootfs.sha256));
    const blobs = new BlobVerifier();
    await load(digest, trusted, blobs);
    writeFileSync(path, "ROOTFS");
    chmodSync(path, 0o444);
    await expect(load(digest, trusted, blobs)).rejects.toEqual(refused(/was changed/));
  });

  it("refuses unknown fields, even when they are signed", async () => {
    const { digest } = putImage({ extra: 1 } as Partial<ImageManifest>);
    await expect(load(digest)).rejects.toEqual(refused(/schema exai.image\/v1/));
  });
});

describe("resolveImageName", () => {
  it("finds a digest by name and says which names there are", async () => {
    await expect(resolveImageName(store, "base")).rejects.toEqual(refused(/run 'make build'/));
    const { digest } = putImage();
    writeFileSync(join(store, imageStorePaths.index), JSON.stringify({ base: digest }));
    expect(await resolveImageName(store, "base")).toBe(digest);
    await expect(resolveImageName(store, "nope")).rejects.toEqual(refused(/no image named 'nope'; there are: base/));
    await expect(resolveImageName(store, "constructor")).rejects.toEqual(refused(/no image named/));
    writeFileSync(join(store, imageStorePaths.index), JSON.stringify({ base: "../x" }));
    await expect(resolveImageName(store, "base")).rejects.toEqual(refused(/malformed/));
  });
});
