import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { root } from "../build/paths.ts";

const target = "x86_64-unknown-linux-musl";
const native = join(root, "native");

/** Builds the double of native/guest/examples/null-vmm.rs, a static program. @returns its path */
export function buildNullVmm(): string {
  const what = ["--package", "exai-guest", "--example", "null-vmm"];
  execFileSync("cargo", ["build", "--quiet", "--release", "--locked", "--target", target, ...what], {
    cwd: native,
    stdio: ["ignore", "ignore", "inherit"],
  });
  return join(native, "target", target, "release", "examples", "null-vmm");
}
