import { createHash, generateKeyPairSync, type KeyObject } from "node:crypto";
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type ImageManifest, imageStorePaths } from "@exai/api/host";
import { canonicalBytes } from "@exai/base";
import { hostTscKhz, MachineError, probeKvm } from "@exai/machine";
import { manifestDigest, rawPublicKey, signManifest } from "@exai/machine/image";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { imageStore, releaseKeys } from "./machine-images.ts";

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "exai-probe-"));
});
afterEach(() => rmSync(folder, { recursive: true }));
const memoryFile = () => join(folder, "probe.json");

/** A QEMU whose arguments a line of shell has changed. */
function qemuWith(script: string): string {
  const path = join(folder, "qemu");
  writeFileSync(path, `#!/bin/bash\n${script}\n`);
  chmodSync(path, 0o755);
  return path;
}

/** Processes whose command line names this test's folder or a probe's words. */
const probes = (): string[] =>
  readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        const line = readFileSync(`/proc/${pid}/cmdline`, "utf8");
        return line.includes("exai.probe=1") || line.includes(folder);
      } catch {
        return false;
      }
    });

describe("probeKvm", () => {
  it("gives this host's answer within its limit, keeps it, and leaves no process", async () => {
    const startMs = performance.now();
    const answer = await probeKvm({
      imageStore,
      releaseKeys: releaseKeys(),
      memoryFile: memoryFile(),
      timeoutMs: 3000,
    });
    expect(performance.now() - startMs).toBeLessThan(6000);
    expect(answer.reason).not.toBe("");
    expect(probes()).toEqual([]);
    const againMs = performance.now();
    expect(
      await probeKvm({ imageStore, releaseKeys: releaseKeys(), memoryFile: memoryFile(), qemu: "/no/such/qemu" }),
    ).toEqual(answer);
    expect(performance.now() - againMs).toBeLessThan(100);
  });

  it("says that it works when a guest reaches user space", async () => {
    // The same guest under emulation: what a working KVM shows, only later.
    const qemu = qemuWith(`exec /usr/bin/qemu-system-x86_64 "\${@//kvm/tcg}" -cpu max`);
    const answer = await probeKvm({
      imageStore,
      releaseKeys: releaseKeys(),
      memoryFile: memoryFile(),
      qemu,
      timeoutMs: 30_000,
    });
    expect(answer).toMatchObject({ works: true });
    expect(probes()).toEqual([]);
  });

  it("is not fooled by a guest that hangs or dies, nor by an answer of another boot", async () => {
    const hanging = await probeKvm({
      imageStore,
      releaseKeys: releaseKeys(),
      memoryFile: memoryFile(),
      qemu: qemuWith("sleep 60"),
      timeoutMs: 300,
    });
    expect(hanging).toMatchObject({ works: false, reason: expect.stringContaining("within 300 ms") });
    writeFileSync(memoryFile(), JSON.stringify({ bootId: "another", value: { works: true, reason: "x" } }));
    const dying = await probeKvm({
      imageStore,
      releaseKeys: releaseKeys(),
      memoryFile: memoryFile(),
      qemu: qemuWith("echo 'oops'; exit 1"),
    });
    expect(dying).toMatchObject({ works: false, reason: expect.stringContaining("'oops'") });
    expect(probes()).toEqual([]);
  });

  it("does not keep an answer when there was nothing to boot", async () => {
    const none = await probeKvm({ imageStore: folder, releaseKeys: releaseKeys(), memoryFile: memoryFile() });
    expect(none).toMatchObject({ works: false });
    expect(readdirSync(folder)).toEqual([]);
  });
});

describe("what probeKvm boots", () => {
  /** A small store of an image of ours, with a QEMU that shows what it was given instead of running it. */
  const store = () => join(folder, "store");
  const shows = () => qemuWith(`while [ $# -gt 0 ]; do [ "$1" = -kernel ] && cat "$2"; shift; done; echo`);
  const put = (content: string, mode = 0o644) => {
    const sha256 = createHash("sha256").update(content).digest("hex");
    writeFileSync(join(store(), imageStorePaths.blob(sha256)), content, { mode });
    return { sha256, sizeBytes: content.length };
  };
  const keys = generateKeyPairSync("ed25519");
  const probe = (trusted: KeyObject, qemu = shows()) =>
    probeKvm({ imageStore: store(), releaseKeys: [rawPublicKey(trusted)], memoryFile: undefined, qemu });

  function putImage(): string {
    for (const each of ["blobs/sha256", "manifests"]) mkdirSync(join(store(), each), { recursive: true });
    const manifest: ImageManifest = {
      schema: "exai.image/v1",
      name: "base",
      architecture: "x86_64",
      kernel: put("our kernel"),
      kernelFlavor: "exai",
      initramfs: put("our initramfs"),
      rootfs: { sha256: "0".repeat(64), sizeBytes: 2 ** 33 }, // not looked at: the probe boots without it
      rootfsFormat: "erofs",
      commandLine: "",
    };
    const [bytes, digest] = [canonicalBytes(manifest), manifestDigest(manifest)];
    writeFileSync(join(store(), imageStorePaths.manifest(digest)), bytes);
    writeFileSync(
      join(store(), imageStorePaths.signatures(digest)),
      JSON.stringify(signManifest(bytes, keys.privateKey)),
    );
    writeFileSync(join(store(), imageStorePaths.index), JSON.stringify({ base: digest }));
    return join(store(), imageStorePaths.blob(manifest.kernel.sha256));
  }

  it("is signed by an enrolled release key, or is not booted at all", async () => {
    putImage();
    expect(await probe(keys.publicKey)).toMatchObject({ reason: expect.stringContaining("our kernel") });
    const refused = await probe(generateKeyPairSync("ed25519").publicKey, "/no/such/qemu");
    expect(refused).toMatchObject({ works: false, reason: expect.stringMatching(/no image .* release key signed/) });
  });

  it("has the digest that was signed, in a copy that the store's owner can't change", async () => {
    const kernel = putImage();
    const late = qemuWith(
      `echo bad > ${kernel}; while [ $# -gt 0 ]; do [ "$1" = -kernel ] && cat "$2"; shift; done; echo`,
    );
    expect(await probe(keys.publicKey, late)).toMatchObject({ reason: expect.stringContaining("our kernel") });
    const refused = await probe(keys.publicKey, "/no/such/qemu");
    expect(refused).toMatchObject({ works: false, reason: expect.stringMatching(/no image .* release key signed/) });
    expect(readdirSync(tmpdir()).filter((name) => name.startsWith("exai-boot-probe-"))).toEqual([]);
  });
});

describe("hostTscKhz", () => {
  it("is the same twice, within a ten-thousandth, and kept", async () => {
    const [one, two] = [join(folder, "a"), join(folder, "b")];
    const first = await hostTscKhz({ memoryFile: one });
    const second = await hostTscKhz({ memoryFile: two });
    expect(Math.abs(first / second - 1)).toBeLessThan(2e-4);
    expect(await hostTscKhz({ memoryFile: one, qemu: "/no/such/qemu" })).toBe(first);
  });

  it("says what is wrong when QEMU is not there, or says nothing", async () => {
    const missing = hostTscKhz({ memoryFile: memoryFile(), qemu: "/no/such/qemu" });
    await expect(missing).rejects.toBeInstanceOf(MachineError);
    const silent = hostTscKhz({ memoryFile: memoryFile(), qemu: qemuWith("exit 0") });
    await expect(silent).rejects.toMatchObject({ code: "unsupported" });
    expect(probes()).toEqual([]);
  });
});
