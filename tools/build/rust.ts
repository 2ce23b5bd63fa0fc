import { chmodSync, copyFileSync, existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type Cached, cached, treeInputs } from "./cached.ts";
import { BuildError } from "./errors.ts";
import { root } from "./paths.ts";
import { run } from "./run.ts";

const target = "x86_64-unknown-linux-musl";
const native = join(root, "native");

/** Where cargo leaves a binary; what runs uses it from here. */
export const cargoOutput = (binary: string): string => join(native, "target", target, "release", binary);

/** A static binary of the Cargo workspace in `native/`. @param crate its folder there. */
export async function buildBinary(crate: string, binary: string): Promise<Cached> {
  const folder = join(native, crate);
  if (!existsSync(join(folder, "Cargo.toml"))) throw new BuildError("missing", `native/${crate} does not exist`);
  const compiler = await run(["rustc", "-V"], { cwd: native });
  const inputs = [
    // Tests and examples do not end up in the binary.
    ...treeInputs(folder, (path) => /^(tests|examples|benches)\//.test(path)),
    ...treeInputs(join(root, "spec"), (path) => !path.endsWith(".proto")),
    readFileSync(join(native, "Cargo.toml")),
    readFileSync(join(native, "Cargo.lock")),
    compiler,
  ];
  const result = await cached(binary, inputs, async (fresh) => {
    await run(["cargo", "build", "--quiet", "--release", "--locked", "--target", target, "-p", binary], {
      cwd: native,
    });
    copyFileSync(cargoOutput(binary), join(fresh, binary));
  });
  // The checkout's own output may be older than the cache, or not be there at all in a fresh clone.
  await place(join(result.folder, binary), cargoOutput(binary));
  return result;
}

async function place(from: string, to: string): Promise<void> {
  if (existsSync(to) && readFileSync(to).equals(readFileSync(from))) return;
  await run(["install", "-D", "-m", "755", from, `${to}.new`]);
  await run(["mv", "-f", `${to}.new`, to]);
  chmodSync(to, 0o755);
}
