import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { HostError } from "../errors.ts";

/**
 * On one machine, set-up made the release key and whoever runs it is the operator: the key beside the store is taken
 * as anchor once. Later changes are an enrolment of their own, since an image store must not name its own judge.
 */
export function enrolReleaseKeys(imageStore: string, releases: string): void {
  if (keyFiles(releases).length > 0) return;
  const key = offeredKey(imageStore);
  if (!existsSync(key)) throw new HostError("missing", `${key} is missing; run 'make build' first`);
  mkdirSync(releases, { recursive: true });
  copyFileSync(key, join(releases, "local.pub"));
}

const offeredKey = (imageStore: string): string => join(imageStore, "..", "release", "release.pub");

const keyFiles = (folder: string): string[] =>
  existsSync(folder) ? readdirSync(folder).filter((file) => file.endsWith(".pub")) : [];

/** Public keys that may sign images, base64url; one file each, put there by enrolment. */
export const releaseKeys = (folder: string): string[] =>
  keyFiles(folder).map((file) => readFileSync(join(folder, file), "utf8").trim());

/** For a look at this host before its first start: the keys that it trusts, or the one that its start would enrol. */
export function releaseKeysToBe(imageStore: string, folder: string | undefined): string[] {
  const enrolled = folder === undefined ? [] : releaseKeys(folder);
  const key = offeredKey(imageStore);
  return enrolled.length > 0 || !existsSync(key) ? enrolled : [readFileSync(key, "utf8").trim()];
}
