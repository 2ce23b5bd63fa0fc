import { realpathSync } from "node:fs";
import { join, relative, resolve } from "node:path";

/** The folder of the whole program: packages, and the modules that they load. */
const program = realpathSync(resolve(import.meta.dirname, "../../../.."));

export interface Service {
  launcher: string;
  uid: number;
  /** A group besides its own: the broker's, for a socket that the broker calls. */
  group?: number;
  /** Where the program's folder is bound, read-only; exists. */
  app: string;
  /** Below the program's folder. */
  main: string;
  /** All of the host's files that it sees besides libraries and the program: folders, each at its own path. */
  reads: readonly string[];
  writes: readonly string[];
  /** It listens on an address of the host's; else its network namespace is empty. */
  network: boolean;
}

/** What a dynamically linked Node loads. */
const libraries = ["/usr/lib", "/usr/lib64", "/lib", "/lib64"];

// Smaller young generation: these processes mostly wait, and V8's default costs memory in each of them. What is dropped keeps its
// buffers until the young generation is full: at 4 MiB a flood left a channel with up to 34 MiB, at 2 with 25 (channel/faults.test.ts, alone).
export const nodeFlags = ["--max-semi-space-size=2", "--disable-warning=ExperimentalWarning"] as const;

/**
 * How an unprivileged process of ours is started: by the launcher, with its own uid, without capabilities or a way to
 * gain any, and in a jail with the program in it, wherever the checkout lies. Of two folders one of which is in the other,
 * the inner one is bound later.
 */
export function serviceArgv(s: Service): readonly [string, ...string[]] {
  const group = s.group === undefined ? [] : ["--group", String(s.group)];
  const ids = ["--uid", String(s.uid), "--gid", String(s.uid), ...group];
  const node = moved(realpathSync(process.execPath), s.app);
  return [
    s.launcher,
    "service",
    ...ids,
    "--app",
    program,
    "--at",
    s.app,
    ...libraries.flatMap((folder) => ["--libraries", folder]),
    ...s.reads.flatMap((folder) => ["--see", folder]),
    ...s.writes.flatMap((folder) => ["--write", folder]),
    ...["--network", s.network ? "host" : "none"],
    "--",
    node,
    ...nodeFlags,
    moved(s.main, s.app),
  ];
}

/** The node agent: root, with the rights that its work takes. */
export const agentArgv = (launcher: string, main: string): readonly [string, ...string[]] => [
  launcher,
  "agent",
  "--",
  process.execPath,
  ...nodeFlags,
  main,
];

function moved(path: string, app: string): string {
  const inside = relative(program, path);
  return inside.startsWith("..") ? path : join(app, inside);
}
