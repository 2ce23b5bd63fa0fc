import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type Cached, cached, currentOf, makeCurrent, treeInputs } from "./cached.ts";
import { root } from "./paths.ts";
import { run } from "./run.ts";
import { putBlob } from "./store.ts";

const source = join(root, "native/hostile");
const program = "hostile";

/** Digest of the blob that tests boot in a kernel's place. */
export const hostileGuest = (): string =>
  createHash("sha256")
    .update(readFileSync(join(currentOf("hostile-guest"), program)))
    .digest("hex");

/** A kernel that does nothing but harm: no libraries, so the compiler alone builds it. */
export async function buildHostileGuest(): Promise<Cached> {
  const compiler = await run(["rustc", "-V"], { cwd: source });
  const result = await cached("hostile-guest", [...treeInputs(source), compiler, ...compile, "v1"], async (fresh) => {
    await run(["rustc", ...compile, "main.rs", "-o", join(fresh, program)], { cwd: source });
  });
  makeCurrent("hostile-guest", result);
  await putBlob(join(result.folder, program));
  return result;
}

const linker = [
  "-nostartfiles",
  "-nostdlib",
  "-static",
  "-no-pie",
  "-Wl,-T,link.ld,--build-id=none,--no-warn-rwx-segments",
];
const compile = [
  ...["--edition", "2024", "--crate-type", "bin", "--crate-name", program, "--target", "x86_64-unknown-linux-musl"],
  ...["-D", "warnings", "-C", "panic=abort", "-C", "opt-level=s", "-C", "relocation-model=static"],
  ...["-C", "link-self-contained=no", "-C", "linker=cc", "-C", "strip=debuginfo"],
  ...linker.flatMap((each) => ["-C", `link-arg=${each}`]),
] as const;
