import { BuildError } from "./errors.ts";

/** One Debian package, to the byte. */
export interface LockedDeb {
  name: string;
  version: string;
  architecture: string;
  sha256: string;
}

/** One npm package; `integrity` is npm's own notation, `sha512-` and base64. */
export interface LockedNpm {
  name: string;
  version: string;
  integrity: string;
}

export interface PackageLock {
  /** Seconds; no file of the image is younger. */
  epoch: number;
  /** Debian's kernel that goes with it. */
  kernel: LockedDeb;
  debs: LockedDeb[];
  npm: LockedNpm[];
}

const patterns = {
  epoch: /^\d{9,11}$/,
  name: /^[a-z0-9][a-z0-9+.-]*$/,
  version: /^[0-9][A-Za-z0-9.+:~-]*$/,
  architecture: /^(amd64|all)$/,
  sha256: /^[0-9a-f]{64}$/,
  integrity: /^sha512-[A-Za-z0-9+/]{86}==$/,
};

/** @throws BuildError `input` with the line's number */
export function parseLock(text: string): PackageLock {
  const debs: LockedDeb[] = [];
  const npm: LockedNpm[] = [];
  let kernel: LockedDeb | undefined;
  let epoch: number | undefined;
  text.split("\n").forEach((line, at) => {
    if (line === "" || line.startsWith("#")) return;
    const [kind, ...words] = line.split(" ");
    const field = (index: number, what: keyof typeof patterns, of = words.length): string => {
      const word = words[index];
      if (word !== undefined && words.length === of && patterns[what].test(word)) return word;
      throw new BuildError("input", `packages.lock, line ${at + 1}: ${what} expected`);
    };
    const deb = (): LockedDeb => ({
      name: field(0, "name", 4),
      version: field(1, "version"),
      architecture: field(2, "architecture"),
      sha256: field(3, "sha256"),
    });
    switch (kind) {
      case "epoch":
        epoch = Number(field(0, "epoch", 1));
        return;
      case "kernel":
        kernel = deb();
        return;
      case "deb":
        debs.push(deb());
        return;
      case "npm":
        npm.push({ name: field(0, "name", 3), version: field(1, "version"), integrity: field(2, "integrity") });
        return;
      default:
        throw new BuildError("input", `packages.lock, line ${at + 1}: '${kind}' is not known`);
    }
  });
  if (epoch === undefined || kernel === undefined || debs.length === 0) {
    throw new BuildError("input", "packages.lock is not complete; run 'npm run image:refresh'");
  }
  return { epoch, kernel, debs, npm };
}

export function formatLock(lock: PackageLock): string {
  const deb = (kind: string, { name, version, architecture, sha256 }: LockedDeb) =>
    `${kind} ${name} ${version} ${architecture} ${sha256}`;
  return [
    "# Every package of this image, to the byte. Made by 'npm run image:refresh'; do not edit.",
    `epoch ${lock.epoch}`,
    deb("kernel", lock.kernel),
    ...lock.debs.map((each) => deb("deb", each)),
    ...lock.npm.map(({ name, version, integrity }) => `npm ${name} ${version} ${integrity}`),
    "",
  ].join("\n");
}
