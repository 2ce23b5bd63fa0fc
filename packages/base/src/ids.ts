import { randomBytes } from "node:crypto";
import { BaseError } from "./errors.ts";

declare const brand: unique symbol;
/** A string that was checked once and is known to be a `Name`. */
export type Id<Name extends string> = string & { readonly [brand]: Name };

/** 20 lower-case base32 characters (100 random bits): fits a DNS label, a pod name and a socket path. */
export type WorkspaceId = Id<"workspace">;
export type TenantId = Id<"tenant">;
export type HostId = Id<"host">;
/** One run of a VMM for a workspace; a stop and a start make a new one. */
export type LifetimeId = Id<"lifetime">;

// RFC 4648 section 6, lower case, no padding.
const alphabet = "abcdefghijklmnopqrstuvwxyz234567";
const pattern = /^[a-z2-7]{20}$/;

export type RandomSource = (bytes: number) => Uint8Array;

function makeId(random: RandomSource): string {
  let id = "";
  // 20 bytes for 20 characters: 5 of each 8 bits are used, which keeps every character uniform.
  for (const byte of random(20)) id += alphabet[byte & 31];
  return id;
}

export const newWorkspaceId = (random: RandomSource = randomBytes): WorkspaceId => makeId(random) as WorkspaceId;
export const newTenantId = (random: RandomSource = randomBytes): TenantId => makeId(random) as TenantId;
export const newHostId = (random: RandomSource = randomBytes): HostId => makeId(random) as HostId;
export const newLifetimeId = (random: RandomSource = randomBytes): LifetimeId => makeId(random) as LifetimeId;

export const isId = (text: string): boolean => pattern.test(text);

function parse<T extends string>(what: string, text: string): T {
  if (!isId(text)) throw new BaseError("invalid-id", `${what} must be 20 characters of a-z and 2-7`);
  return text as T;
}

/** @throws BaseError `invalid-id` */
export const parseWorkspaceId = (text: string): WorkspaceId => parse("a workspace id", text);
export const parseTenantId = (text: string): TenantId => parse("a tenant id", text);
export const parseHostId = (text: string): HostId => parse("a host id", text);
export const parseLifetimeId = (text: string): LifetimeId => parse("a lifetime id", text);
