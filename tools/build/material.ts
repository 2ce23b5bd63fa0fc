import { readdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Cached, cached } from "./cached.ts";
import { BuildError } from "./errors.ts";
import { cachePaths, root } from "./paths.ts";
import { run } from "./run.ts";

const requirements = join(root, "tests/material/requirements.txt");
/** Must come as its authors released it: only that has the tests. */
const asSource = "jinja2";

/** The third-party package that the main job tests, and wheels of what its tests need: a folder of archives. */
export async function fetchMaterial(): Promise<Cached> {
  const text = readFileSync(requirements, "utf8");
  const result = await cached("material", [text, "v1"], async (folder) => {
    const builder = /^flit-core==\S+/m.exec(text)?.[0];
    if (builder === undefined) throw new BuildError("input", "tests/material/requirements.txt does not pin flit-core");
    const pip = ["/usr/bin/python3", "-m", "pip", "--quiet", "--disable-pip-version-check", "download"] as const;
    const common = ["--require-hashes", "--no-binary", asSource, "--dest", folder, "-r", requirements];
    const constraint = join(folder, "constraint.txt");
    writeFileSync(constraint, `${builder}\n`);
    // pip asks the source for its metadata and builds in an environment of its own; that one is pinned too.
    await run([...pip, ...common, "--no-deps"], { env: { PIP_CONSTRAINT: constraint } });
    rmSync(constraint);
    if (!readdirSync(folder).some((file) => file.startsWith(asSource) && file.endsWith(".tar.gz"))) {
      throw new BuildError("missing", `pip did not fetch the source of ${asSource}`);
    }
  });
  // Tests and the tour find it under one name.
  const { material } = cachePaths();
  rmSync(`${material}.new`, { force: true });
  symlinkSync(result.folder, `${material}.new`);
  renameSync(`${material}.new`, material);
  return result;
}
