import { createHash, generateKeyPairSync } from "node:crypto";
import {
  chmodSync,
  copyFileSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type ImageBlob, type ImageManifest, imageIndex, imageManifest, imageStorePaths } from "@exai/api/host";
import { canonicalBytes } from "@exai/base";
import { manifestDigest, rawPublicKey, signManifest } from "@exai/machine/image";
import { cachePaths } from "../../tools/build/paths.ts";

const real = cachePaths();

/** An image store of its own: the built base image, and images that a test makes and signs with a key of its own. */
export class TestImages implements Disposable {
  readonly #folder = mkdtempSync(join(tmpdir(), "exai-images-"));
  readonly store = join(this.#folder, "images");
  readonly #keys = generateKeyPairSync("ed25519");
  readonly #base: ImageManifest;

  constructor() {
    for (const folder of ["", "images", "images/blobs", "images/blobs/sha256", "images/manifests", "release"]) {
      mkdirSync(join(this.#folder, folder), { recursive: true });
      chmodSync(join(this.#folder, folder), 0o755); // VMMs run as users of their own
    }
    const digest = imageIndex.parse(JSON.parse(readFileSync(join(real.images, "index.json"), "utf8")))["base"];
    if (digest === undefined) throw new Error("the base image is not built; run 'make build'");
    this.#base = imageManifest.parse(
      JSON.parse(readFileSync(join(real.images, imageStorePaths.manifest(digest)), "utf8")),
    );
    for (const { sha256 } of [this.#base.kernel, this.#base.initramfs, this.#base.rootfs]) {
      this.#take(imageStorePaths.blob(sha256));
    }
    this.#take(imageStorePaths.manifest(digest));
    this.#take(imageStorePaths.signatures(digest));
    this.#index({ base: digest });
    copyFileSync(join(real.release, "release.pub"), join(this.#folder, "release", "release.pub"));
  }

  /** Enrols the test's key beside that of who built the base image; for a home that has not been started yet. */
  enrol = (home: string): void => {
    const releases = join(home, "anchors", "releases");
    mkdirSync(releases, { recursive: true });
    copyFileSync(join(real.release, "release.pub"), join(releases, "local.pub"));
    writeFileSync(join(releases, "test.pub"), `${rawPublicKey(this.#keys.publicKey)}\n`);
  };

  /** An image like the base one but for the changes, signed by the test's key. @returns its digest */
  add(name: string, changes: Partial<ImageManifest>): string {
    const manifest = { ...this.#base, ...changes, name };
    const digest = manifestDigest(manifest);
    const bytes = canonicalBytes(manifest);
    writeFileSync(join(this.store, imageStorePaths.manifest(digest)), bytes);
    const signatures = JSON.stringify(signManifest(bytes, this.#keys.privateKey));
    writeFileSync(join(this.store, imageStorePaths.signatures(digest)), signatures);
    this.#index({ [name]: digest });
    return digest;
  }

  blob(content: Uint8Array): ImageBlob {
    const sha256 = createHash("sha256").update(content).digest("hex");
    writeFileSync(join(this.store, imageStorePaths.blob(sha256)), content, { mode: 0o444 });
    return { sha256, sizeBytes: content.length };
  }

  #index(names: Record<string, string>): void {
    const path = join(this.store, imageStorePaths.index);
    let known: Record<string, string> = {};
    try {
      known = imageIndex.parse(JSON.parse(readFileSync(path, "utf8")));
    } catch {
      // the first one
    }
    writeFileSync(path, JSON.stringify({ ...known, ...names }));
  }

  #take(file: string): void {
    try {
      linkSync(join(real.images, file), join(this.store, file));
    } catch {
      copyFileSync(join(real.images, file), join(this.store, file)); // another file system
    }
  }

  [Symbol.dispose](): void {
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** What makes a file pass for a kernel: the header of an ELF program for x86-64. */
export function kernelHeader(): Buffer {
  const header = Buffer.alloc(64);
  header.write("\x7fELF\x02\x01\x01", 0, "latin1");
  header.writeUInt16LE(2, 16);
  header.writeUInt16LE(62, 18);
  return header;
}

/**
 * An init that prints a line and then waits for ever: 64-bit ELF, one segment, no libraries.
 * write(1, text, length); for (;;) pause()
 */
export function hangingInit(text: string): Buffer {
  const base = 0x400000;
  const [headers, message] = [64 + 56, Buffer.from(text)];
  const code = Buffer.from([
    ...[0xb8, 1, 0, 0, 0], // mov eax, 1 (write)
    ...[0xbf, 1, 0, 0, 0], // mov edi, 1
    ...[0x48, 0x8d, 0x35, 0, 0, 0, 0], // lea rsi, [rip + text]
    ...[0xba, message.length, 0, 0, 0], // mov edx, length
    ...[0x0f, 0x05], // syscall
    ...[0xb8, 34, 0, 0, 0], // mov eax, 34 (pause)
    ...[0x0f, 0x05], // syscall
    ...[0xeb, 0xf7], // jmp -9
  ]);
  code.writeInt32LE(code.length - 17, 13);
  const size = headers + code.length + message.length;
  const head = Buffer.alloc(headers);
  head.write("\x7fELF\x02\x01\x01", 0, "latin1");
  for (const [at, value] of [
    [16, 2],
    [18, 62],
    [52, 64],
    [54, 56],
    [56, 1],
  ] as const)
    head.writeUInt16LE(value, at);
  head.writeUInt32LE(1, 20);
  head.writeBigUInt64LE(BigInt(base + headers), 24);
  head.writeBigUInt64LE(64n, 32);
  head.writeUInt32LE(1, 64); // PT_LOAD
  head.writeUInt32LE(5, 68); // readable, executable
  head.writeBigUInt64LE(BigInt(base), 80);
  head.writeBigUInt64LE(BigInt(base), 88);
  head.writeBigUInt64LE(BigInt(size), 96);
  head.writeBigUInt64LE(BigInt(size), 104);
  head.writeBigUInt64LE(4096n, 112);
  return Buffer.concat([head, code, message]);
}
