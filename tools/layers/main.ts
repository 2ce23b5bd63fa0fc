/** Fails on an import that ARCHITECTURE.md's table does not allow. */
import { resolve } from "node:path";
import { checkPackages } from "./check.ts";

const violations = checkPackages(resolve(import.meta.dirname, "../../packages"));
for (const { file, line, message } of violations) console.error(`packages/${file}:${line}: ${message}`);
console.log(violations.length === 0 ? "layers: ok" : `layers: ${violations.length} imports are not allowed`);
process.exitCode = violations.length === 0 ? 0 : 1;
