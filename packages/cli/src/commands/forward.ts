import { once } from "node:events";
import { createIo } from "../io.ts";
import { openClient } from "../open.ts";
import { Interrupts } from "../session/interrupts.ts";
import { parsePorts } from "../text/parse.ts";
import type { Register } from "./common.ts";

export const register: Register = (program, context) => {
  program
    .command("forward")
    .description("open a TCP port of a workspace on this machine, until Ctrl-C")
    .argument("<workspace>", "name, id or its beginning")
    .argument("<PORT[:LOCAL]>", "port in the guest, and here; 0 takes a free one", parsePorts)
    .option("--address <address>", "address to listen on", "127.0.0.1")
    .option("--json", "print JSON", false)
    .addHelpText("after", "\nExamples:\n  exai forward build 8000\n  exai forward build 5432:15432")
    .action(
      async (reference: string, ports: ReturnType<typeof parsePorts>, options: { address: string; json: boolean }) => {
        const io = createIo(options.json);
        using interrupts = new Interrupts();
        await using client = await openClient(context.globals());
        const workspace = await client.workspaces.get(reference);
        await using forward = await workspace.forward(ports.port, {
          localPort: ports.localPort,
          address: options.address,
          onError: (error) => io.note(error.message),
        });
        const address = `${forward.address}:${forward.port}`;
        if (io.json) io.printJson({ workspace: workspace.id, port: ports.port, address });
        else io.print(`${address} leads to port ${ports.port} of ${workspace.name ?? workspace.id}; Ctrl-C ends it`);
        if (!interrupts.signal.aborted) await once(interrupts.signal, "abort");
        context.exit(interrupts.exitCode === 130 ? 0 : (interrupts.exitCode ?? 0));
      },
    );
};
