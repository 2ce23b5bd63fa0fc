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
}

// Smaller young generation: these processes mostly wait, and V8's default costs memory in each of them.
export const nodeFlags = ["--max-semi-space-size=4", "--disable-warning=ExperimentalWarning"] as const;

/**
 * How an unprivileged process of ours is started: by the launcher, with its own uid, without capabilities or a way to
 * gain any, and with the program bound to where that uid can read it, wherever the checkout lies.
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
    "--",
    node,
    ...nodeFlags,
    moved(s.main, s.app),
  ];
}

/** A process that keeps root: the node agent. */
export const rootArgv = (main: string): readonly [string, ...string[]] => [process.execPath, ...nodeFlags, main];

function moved(path: string, app: string): string {
  const inside = relative(program, path);
  return inside.startsWith("..") ? path : join(app, inside);
}
