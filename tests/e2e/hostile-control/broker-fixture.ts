import { type ChildProcess, spawn } from "node:child_process";
import { createHash, generateKeyPairSync } from "node:crypto";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { type ImageManifest, imageStorePaths } from "@exai/api/host";
import { canonicalBytes, type WorkspaceId } from "@exai/base";
import { manifestDigest, rawPublicKey, signManifest } from "@exai/machine/image";
import { TestHost, TestTenant } from "@exai/policy/testing";
import type { BrokerConfig } from "../../../packages/host/src/broker/config.ts";
import { kernelHeader } from "../../support/images.ts";
import { LyingControlPlane } from "./lying-control-plane.ts";
import { HostDouble } from "./node-double.ts";

const main = resolve(import.meta.dirname, "../../../packages/host/src/broker/main.ts");

/** The real broker process between a control plane that lies and doubles of what it commands, for two tenants. */
export class BrokerFixture implements AsyncDisposable {
  readonly folder = mkdtempSync(join(tmpdir(), "exai-hostile-"));
  readonly host = new TestHost();
  readonly acme = new TestTenant({ name: "acme" });
  readonly globex = new TestTenant({ name: "globex" });
  readonly release = generateKeyPairSync("ed25519");
  /** Digests of two images: one that the release key signed, one that a stranger did. */
  readonly image: string;
  readonly foreignImage: string;
  readonly #resources = new AsyncDisposableStack();
  #broker: ChildProcess | undefined;
  log = "";

  private constructor() {
    for (const folder of ["images/blobs/sha256", "images/manifests", "journal", "spool"]) {
      mkdirSync(join(this.folder, folder), { recursive: true });
    }
    for (const { anchor } of [this.acme, this.globex]) {
      mkdirSync(join(this.folder, "spool", anchor.tenant, "broker"), { recursive: true });
    }
    writeFileSync(join(this.folder, "host.key"), this.host.key.export({ format: "pem", type: "pkcs8" }));
    this.image = this.#addImage("base", this.release.privateKey);
    this.foreignImage = this.#addImage("foreign", generateKeyPairSync("ed25519").privateKey);
  }

  static async start(): Promise<{
    fixture: BrokerFixture;
    control: LyingControlPlane;
    acme: HostDouble;
    globex: HostDouble;
  }> {
    const fixture = new BrokerFixture();
    const use = fixture.#resources;
    const control = use.use(await LyingControlPlane.start(join(fixture.folder, "c.sock")));
    const acme = use.use(await HostDouble.start(fixture.#sockets("acme")));
    const globex = use.use(await HostDouble.start(fixture.#sockets("globex")));
    fixture.startBroker();
    return { fixture, control, acme, globex };
  }

  startBroker(): void {
    const broker = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", main], {
      stdio: ["pipe", "ignore", "pipe"],
    });
    broker.stderr?.on("data", (data: Buffer) => {
      this.log = (this.log + data.toString("utf8")).slice(-100_000);
    });
    broker.stdin?.write(`${JSON.stringify(this.#config())}\n`);
    this.#broker = broker;
  }

  async killBroker(): Promise<void> {
    const broker = this.#broker;
    if (broker === undefined || broker.exitCode !== null || broker.signalCode !== null) return;
    const exit = once(broker, "exit");
    broker.kill("SIGKILL");
    await exit;
  }

  get brokerLives(): boolean {
    return this.#broker?.exitCode === null && this.#broker.signalCode === null;
  }

  /** The broker's resident memory, MiB. */
  get brokerMib(): number {
    const status = readFileSync(`/proc/${this.#broker?.pid}/status`, "utf8");
    return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1024;
  }

  journal(): string[] {
    const files = readdirSync(join(this.folder, "journal"));
    return files.filter((file) => file !== "reserve").toSorted(); // kept for a full disk, and no entry
  }

  /** Bytes of a tenant's sealed records. */
  spoolBytes(tenant: TestTenant): number {
    const folder = join(this.folder, "spool", tenant.anchor.tenant, "broker");
    return readdirSync(folder).reduce((sum, file) => sum + readFileSync(join(folder, file)).length, 0);
  }

  creation(tenant: TestTenant, workspace: WorkspaceId, spec: object = {}, more: object = {}): string {
    const whole = { image: this.image, cpus: 1, memoryMib: 128, diskMib: 64, ttlSeconds: 0, labels: {}, ...spec };
    return tenant.intent(workspace, "create", Date.now(), { spec: whole, ...more });
  }

  #sockets(name: string) {
    return { nodeSocket: join(this.folder, `${name}-node.sock`), adminSocket: join(this.folder, `${name}-admin.sock`) };
  }

  #config(): BrokerConfig {
    return {
      host: this.host.anchor,
      hostKeyFile: join(this.folder, "host.key"),
      journalFolder: join(this.folder, "journal"),
      spoolFolder: join(this.folder, "spool"),
      spoolQuotaBytes: 16 << 20,
      imageStore: join(this.folder, "images"),
      releases: [rawPublicKey(this.release.publicKey)],
      controlSocket: join(this.folder, "c.sock"),
      tenants: [
        { anchor: this.acme.anchor, ...this.#sockets("acme") },
        { anchor: this.globex.anchor, ...this.#sockets("globex") },
      ],
      vmm: "qemu",
      accelerator: "tcg",
      tscKhz: 2_000_000,
      capacity: { memoryMib: 4096, vms: 10 },
      production: false,
      statusSocket: join(this.folder, "status.sock"),
    };
  }

  #addImage(name: string, key: Parameters<typeof signManifest>[1]): string {
    const blob = (content: string | Buffer) => {
      const sha256 = createHash("sha256").update(content).digest("hex");
      writeFileSync(join(this.folder, "images", imageStorePaths.blob(sha256)), content);
      return { sha256, sizeBytes: content.length };
    };
    const manifest: ImageManifest = {
      schema: "exai.image/v1",
      name,
      architecture: "x86_64",
      kernel: blob(Buffer.concat([kernelHeader(), Buffer.from(name)])),
      kernelFlavor: "exai",
      initramfs: blob(`${name} initramfs`),
      rootfs: blob(`${name} rootfs`),
      rootfsFormat: "erofs",
      commandLine: "",
    };
    const digest = manifestDigest(manifest);
    const bytes = canonicalBytes(manifest);
    writeFileSync(join(this.folder, "images", imageStorePaths.manifest(digest)), bytes);
    writeFileSync(
      join(this.folder, "images", imageStorePaths.signatures(digest)),
      JSON.stringify(signManifest(bytes, key)),
    );
    return digest;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.killBroker();
    await this.#resources.disposeAsync();
    rmSync(this.folder, { recursive: true, force: true });
  }
}
