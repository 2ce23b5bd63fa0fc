import { listImages } from "../images.ts";
import { createIo } from "../io.ts";
import { openClient } from "../open.ts";
import { renderTable } from "../text/table.ts";
import type { Register } from "./common.ts";

export const register: Register = (program, context) => {
  program
    .command("image")
    .description("list images")
    .addHelpText("after", "\nExample:\n  exai image ls")
    .command("ls")
    .description("list the images of the stack's store")
    .option("--json", "print JSON", false)
    .addHelpText("after", "\nExample:\n  exai image ls --json")
    .action(async (options: { json: boolean }) => {
      const io = createIo(options.json);
      await using client = await openClient(context.globals());
      const images = listImages(client.loaded.profile.imageStore);
      if (io.json) io.printJson(images);
      else
        io.print(
          renderTable(
            ["name", "digest"],
            images.map(({ name, digest }) => [name, digest]),
          ),
        );
    });
};
