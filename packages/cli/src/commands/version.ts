import { createIo } from "../io.ts";
import { version } from "../version.ts";
import type { Register } from "./common.ts";

export const register: Register = (program) => {
  program
    .command("version")
    .description("print the version")
    .option("--json", "print JSON")
    .addHelpText("after", "\nExample:\n  exai version --json")
    .action((options: { json?: boolean }) => {
      const io = createIo(options.json === true);
      if (io.json) io.printJson({ version, node: process.versions.node });
      else io.print(`exai ${version}`);
    });
};
