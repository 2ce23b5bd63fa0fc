import { BuildError } from "./errors.ts";
import type { LockedDeb } from "./package-lock.ts";
import { run } from "./run.ts";

/**
 * What the machine's own apt knows. No mirror is named here: the machine's configuration says where Debian is, and
 * apt has checked the signatures of what it lists.
 */

/** Every version of the named packages that apt could fetch, its candidate first. */
export async function available(names: readonly string[]): Promise<Map<string, LockedDeb[]>> {
  const found = new Map<string, LockedDeb[]>();
  if (names.length === 0) return found;
  // A name that apt does not know makes it fail, after it has shown the others.
  const text = await run(["apt-cache", "show", ...names], { anyExit: true });
  for (const stanza of text.split("\n\n")) {
    const fields = new Map(
      stanza.split("\n").flatMap((line) => {
        const at = line.indexOf(": ");
        return at > 0 && !line.startsWith(" ") ? [[line.slice(0, at), line.slice(at + 2)] as const] : [];
      }),
    );
    const name = fields.get("Package");
    const version = fields.get("Version");
    const architecture = fields.get("Architecture");
    const sha256 = fields.get("SHA256");
    if (!name || !version || !architecture || !sha256) continue;
    found.set(name, [...(found.get(name) ?? []), { name, version, architecture, sha256 }]);
  }
  return found;
}

/** Downloads into `folder`, under apt's own file names. */
export async function download(debs: readonly LockedDeb[], folder: string): Promise<void> {
  if (debs.length === 0) return;
  const wanted = debs.map(({ name, version }) => `${name}=${version}`);
  await run(["apt-get", "-q", "-o", "APT::Sandbox::User=", "download", ...wanted], { cwd: folder });
}

/**
 * All packages that a Debian with `names` consists of, for a machine that has none yet.
 * @throws BuildError `run` when apt can't resolve them
 */
export async function resolveAll(names: readonly string[]): Promise<LockedDeb[]> {
  const options = [
    "-o",
    "Dir::State::status=/dev/null",
    "-o",
    "APT::Install-Recommends=false",
    "-o",
    "Debug::NoLocking=1",
  ];
  const simulated = await run(["apt-get", "-q", "-s", ...options, "install", "?essential", "apt", ...names]);
  const chosen = new Map<string, string>();
  for (const match of simulated.matchAll(/^Inst (\S+?)(?::\S+)? \((\S+) /gm)) {
    if (match[1] !== undefined && match[2] !== undefined) chosen.set(match[1], match[2]);
  }
  const known = await available([...chosen.keys()]);
  return [...chosen]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, version]) => {
      const deb = known.get(name)?.find((each) => each.version === version);
      if (deb === undefined) throw new BuildError("missing", `apt has no digest of ${name} ${version}`);
      return deb;
    });
}
