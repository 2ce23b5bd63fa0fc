import { createPrivateKey, createPublicKey, type KeyObject } from "node:crypto";
import { closeSync, fstatSync, openSync, readdirSync, readSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { type ClientProfile, clientProfile } from "@exai/api/host";
import { errorCode } from "@exai/base";
import { SdkError } from "./errors.ts";

const longestFile = 1 << 20;

/** A tenant's profile with its signing key. The log key is read only by who opens sealed events. */
export interface LoadedProfile {
  readonly path: string;
  readonly profile: ClientProfile;
  readonly signingKey: KeyObject;
  readonly publicKey: KeyObject;
}

export interface ProfileChoice {
  /** The profile's file; wins over `home`. */
  readonly profile?: string;
  /** A stack's home, `EXAI_HOME`; its only tenant is taken, or the one named by `tenant`. */
  readonly home?: string;
  readonly tenant?: string;
}

export const defaultHome = "/var/lib/exai";

/**
 * The profile's path by the caller's choice, then `EXAI_PROFILE`, then `EXAI_HOME`, then the default home.
 * @throws SdkError `no-stack`, `bad-profile` (several tenants and none chosen)
 */
export function findProfile(choice: ProfileChoice, env: NodeJS.ProcessEnv = process.env): string {
  if (choice.profile !== undefined) return resolve(choice.profile);
  if (choice.home === undefined && env["EXAI_PROFILE"]) return resolve(env["EXAI_PROFILE"]);
  const home = resolve(choice.home ?? (env["EXAI_HOME"] || defaultHome));
  const folder = join(home, "client");
  if (choice.tenant !== undefined) return join(folder, choice.tenant, "profile.json");
  let tenants: string[];
  try {
    tenants = readdirSync(folder);
  } catch (cause) {
    if (errorCode(cause) === "ENOENT") throw noStack(home, cause);
    throw new SdkError(
      "bad-profile",
      `cannot read ${folder} (${errorCode(cause)}); run as the user who owns the stack`,
      {
        cause,
      },
    );
  }
  const [only, another] = tenants;
  if (only === undefined) throw noStack(home);
  if (another !== undefined) {
    throw new SdkError("bad-profile", `${folder} has ${tenants.length} tenants; choose one of ${tenants.join(", ")}`);
  }
  return join(folder, only, "profile.json");
}

const noStack = (home: string, cause?: unknown) =>
  new SdkError("no-stack", `there is no stack in ${home}; start one with 'exai up -d'`, { cause });

/**
 * Reads a profile and the signing key beside it. Both must belong to the caller (or root) and be closed to others.
 * @throws SdkError `no-stack`, `bad-profile`
 */
export function loadProfile(path: string): LoadedProfile {
  const text = readPrivateFile(path);
  let profile: ClientProfile;
  try {
    profile = clientProfile.parse(JSON.parse(text));
  } catch (cause) {
    throw new SdkError("bad-profile", `${path} is not a valid profile; enrol the tenant again`, { cause });
  }
  const signingKey = readPrivateKey(path, profile.signingKeyFile, "ed25519");
  return { path, profile, signingKey, publicKey: createPublicKey(signingKey) };
}

/** The tenant's key that opens sealed events. @throws SdkError `bad-profile` */
export const loadLogKey = (loaded: LoadedProfile): KeyObject =>
  readPrivateKey(loaded.path, loaded.profile.logKeyFile, "x25519");

function readPrivateKey(profilePath: string, file: string, type: "ed25519" | "x25519"): KeyObject {
  const path = resolve(dirname(profilePath), file);
  const pem = readPrivateFile(path);
  try {
    const key = createPrivateKey(pem);
    if (key.asymmetricKeyType === type) return key;
  } catch (cause) {
    throw new SdkError("bad-profile", `${path} is not a private key in PEM`, { cause });
  }
  throw new SdkError("bad-profile", `${path} is not an ${type} key`);
}

/** Checks owner and mode on the open descriptor, so that what was checked is what is read. */
function readPrivateFile(path: string): string {
  let fd: number;
  try {
    fd = openSync(path, "r");
  } catch (cause) {
    if (errorCode(cause) === "ENOENT") {
      throw new SdkError("no-stack", `${path} does not exist; start a stack with 'exai up -d'`, { cause });
    }
    throw new SdkError("bad-profile", `cannot read ${path} (${errorCode(cause)})`, { cause });
  }
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile() || stat.size > longestFile) throw new SdkError("bad-profile", `${path} is not a profile or key`);
    if ((stat.mode & 0o077) !== 0) {
      throw new SdkError("bad-profile", `${path} is open to other users; run 'chmod 600 ${path}'`);
    }
    const me = process.getuid?.();
    if (me !== undefined && stat.uid !== me && stat.uid !== 0) {
      throw new SdkError("bad-profile", `${path} belongs to another user`);
    }
    const bytes = Buffer.alloc(stat.size);
    const length = readSync(fd, bytes, 0, stat.size, 0);
    return bytes.toString("utf8", 0, length);
  } finally {
    closeSync(fd);
  }
}
