/** For tests only: a PostgreSQL of its own in a temporary folder, on a UNIX socket, gone afterwards. */
import { execFileSync, type SpawnSyncReturns, spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface TestPostgresql extends Disposable {
  readonly urlFile: string;
}

const root = "/usr/lib/postgresql";

/** Newest that is installed. @throws Error naming the package when there is none */
function programs(): string {
  const [newest] = existsSync(root) ? readdirSync(root).toSorted((a, b) => Number(b) - Number(a)) : [];
  if (newest === undefined) throw new Error("PostgreSQL is not installed: apt-get install postgresql");
  return join(root, newest, "bin");
}

/** PostgreSQL refuses to run as root; Debian's package made the user. */
function run(file: string, args: readonly string[], cwd: string): SpawnSyncReturns<string> {
  const asUser = process.getuid?.() === 0 ? ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] : [];
  const [program = file, ...rest] = [...asUser, join(programs(), file), ...args];
  // The server inherits the descriptors: a pipe would stay open for as long as it runs.
  const done = spawnSync(program, rest, {
    cwd,
    encoding: "utf8",
    stdio: ["ignore", "ignore", "inherit"],
    timeout: 60_000,
  });
  if (done.status !== 0) throw new Error(`${file} failed with ${done.status ?? done.signal}`);
  return done;
}

export function startPostgresql(): TestPostgresql {
  const folder = mkdtempSync(join(tmpdir(), "exai-pg-"));
  chmodSync(folder, 0o700);
  if (process.getuid?.() === 0) execFileSync("chown", ["postgres:postgres", folder]);
  const data = join(folder, "data");
  const remove = () => rmSync(folder, { recursive: true, force: true });
  try {
    run("initdb", ["-D", data, "-U", "exai", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"], folder);
    const options = `-k ${folder} -c listen_addresses='' -c shared_buffers=16MB -c max_connections=20`;
    run("pg_ctl", ["-D", data, "-w", "-s", "-l", join(folder, "log"), "-o", options, "start"], folder);
  } catch (error) {
    remove();
    throw error;
  }
  const urlFile = join(folder, "url");
  writeFileSync(urlFile, `postgresql://exai@/postgres?host=${encodeURIComponent(folder)}\n`);
  return {
    urlFile,
    [Symbol.dispose]() {
      run("pg_ctl", ["-D", data, "-w", "-s", "-m", "immediate", "stop"], folder);
      remove();
    },
  };
}
