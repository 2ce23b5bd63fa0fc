import { join, resolve } from "node:path";
import { homeFolder } from "../context.ts";
import { parseMemory, parseSha256 } from "../text/parse.ts";
import type { CommandContext, Register } from "./common.ts";

interface HostIo {
  stdout(text: string): void;
  stderr(text: string): void;
  readonly json: boolean;
  readonly signal: AbortSignal;
}

interface UpFlags {
  detach: boolean;
  production: boolean;
  images: string;
  firecracker?: string;
  firecrackerSha256?: string;
  memory?: number;
  json: boolean;
}

interface DoctorFlags {
  production: boolean;
  images: string;
  firecracker?: string;
  firecrackerSha256?: string;
  json: boolean;
}

/** Where set-up puts images; docs/internals/image.md. A stack needs root, so the cache is root's. */
const imageStore = (): string => join(resolve(process.env["EXAI_CACHE"] || "/var/cache/exai"), "images");

export const register: Register = (program, context) => {
  program
    .command("up")
    .description("start a stack on this machine; needs root")
    .option("-d, --detach", "return when it is up", false)
    .option("--production", "refuse what is for development only", false)
    .option("--images <folder>", "image store", imageStore())
    .option("--firecracker <path>", "Firecracker's executable, used where KVM works")
    .option("--firecracker-sha256 <hex>", "its digest, for a release that this build does not know", parseSha256)
    .option("--memory <size>", "memory that may be promised to microVMs", parseMemory)
    .option("--json", "print JSON", false)
    .addHelpText("after", "\nExamples:\n  exai up -d\n  EXAI_HOME=/tmp/demo exai up -d")
    .action((options: UpFlags) =>
      operate(context, options.json, async (io) => {
        const { upCommand } = await import("@exai/host");
        const { detach, production, memory, firecracker, firecrackerSha256: sha256 } = options;
        const images = resolve(options.images);
        return await upCommand(
          {
            home: home(context),
            detach,
            production,
            imageStore: images,
            tenant: context.globals().tenant,
            firecracker: { path: firecracker && resolve(firecracker), sha256 },
            memoryMib: memory,
          },
          io,
        );
      }),
    );
  program
    .command("down")
    .description("stop the stack; workspaces stay on disk and run again at the next up")
    .option("--keep-vms", "leave the microVMs running, for an upgrade", false)
    .option("--purge", "remove the home with every workspace in it", false)
    .option("--json", "print JSON", false)
    .addHelpText("after", "\nExamples:\n  exai down\n  exai down --purge")
    .action((options: { keepVms: boolean; purge: boolean; json: boolean }) =>
      operate(context, options.json, async (io) => {
        const { downCommand } = await import("@exai/host");
        return await downCommand({ home: home(context), keepVms: options.keepVms, purge: options.purge }, io);
      }),
    );
  registerLooking(program, context);
};

const registerLooking: Register = (program, context) => {
  program
    .command("status")
    .description("show the stack, and what it does not protect")
    .option("--json", "print JSON", false)
    .addHelpText("after", "\nExamples:\n  exai status\n  exai status --json")
    .action((options: { json: boolean }) =>
      operate(context, options.json, async (io) =>
        (await import("@exai/host")).statusCommand({ home: home(context) }, io),
      ),
    );
  program
    .command("doctor")
    .description("check whether this host can run exai, with reason and remedy")
    .option("--production", "every item that production asks of a host", false)
    .option("--images <folder>", "image store", imageStore())
    .option("--firecracker <path>", "Firecracker's executable, as 'up' gets it")
    .option("--firecracker-sha256 <hex>", "its digest, as 'up' gets it", parseSha256)
    .option("--json", "print JSON", false)
    .addHelpText("after", "\nExamples:\n  exai doctor\n  exai doctor --production --json")
    .action((options: DoctorFlags) =>
      operate(context, options.json, async (io) => {
        const { doctorCommand } = await import("@exai/host");
        const { production, images, firecracker, firecrackerSha256: sha256 } = options;
        return await doctorCommand(
          {
            home: home(context),
            production,
            imageStore: resolve(images),
            firecracker: { path: firecracker && resolve(firecracker), sha256 },
          },
          io,
        );
      }),
    );
  registerTenants(program, context);
};

const tenantActions = {
  add: { argument: "<name>", what: "enrol a tenant with keys that are made here", example: "add research" },
  enrol: {
    argument: "<anchor>",
    what: "enrol a tenant by its public keys, a JSON file",
    example: "enrol research.json",
  },
  ls: { argument: undefined, what: "list tenants", example: "ls --json" },
} as const;

const registerTenants: Register = (program, context) => {
  const tenant = program
    .command("tenant")
    .description("enrol and list tenants")
    .addHelpText("after", "\nExamples:\n  exai tenant ls\n  exai tenant add research");
  for (const action of ["add", "enrol", "ls"] as const) {
    const { argument, what, example } = tenantActions[action];
    const command = tenant.command(action).description(what);
    if (argument !== undefined) command.argument(argument);
    command
      .option("--images <folder>", "image store", imageStore())
      .option("--json", "print JSON", false)
      .addHelpText("after", `\nExample:\n  exai tenant ${example}`)
      .action(() =>
        operate(context, command.opts<{ json: boolean }>().json, async (io) => {
          const { tenantCommand } = await import("@exai/host");
          const store = resolve(command.opts<{ images: string }>().images);
          return await tenantCommand({ home: home(context), action, subject: command.args[0], imageStore: store }, io);
        }),
      );
  }
};

const home = (context: CommandContext): string => homeFolder(context.globals());

async function operate(context: CommandContext, json: boolean, step: (io: HostIo) => Promise<number>): Promise<void> {
  const abort = new AbortController();
  const stop = () => abort.abort();
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, stop);
  const io: HostIo = {
    stdout: (text) => void process.stdout.write(text),
    stderr: (text) => void process.stderr.write(text),
    json,
    signal: abort.signal,
  };
  try {
    context.exit(await step(io));
  } finally {
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.off(signal, stop);
  }
}
