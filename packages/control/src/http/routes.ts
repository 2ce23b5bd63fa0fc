import {
  createWorkspaceRequest,
  endpoint,
  hostId,
  intentRequest,
  labels,
  pollRequest,
  pollResponse,
  workspace,
  workspaceId,
  workspaceList,
  workspaceName,
} from "@exai/api";
import { z } from "zod";
import type { ProblemCode } from "../errors.ts";

export type Role = "tenant" | "host";

/** One endpoint as data: the server mounts it, the OpenAPI document describes it, the tests walk it. */
export interface Route {
  readonly method: "get" | "post";
  /** OpenAPI's form. */
  readonly path: string;
  readonly summary: string;
  /** Who may call it; `anyone` needs no token. */
  readonly roles: readonly Role[] | "anyone";
  readonly params: z.ZodType;
  readonly query: z.ZodType;
  readonly body: z.ZodType | undefined;
  readonly bodyBytes: number;
  /** Takes an `Idempotency-Key`. */
  readonly idempotent: boolean;
  readonly success: Readonly<Record<number, z.ZodType>>;
  /** Beyond those that every endpoint has. */
  readonly problems: readonly ProblemCode[];
}

/** Visible ASCII, kept for 24 hours. */
export const idempotencyHeaders = z.object({ "Idempotency-Key": z.string().min(1).max(128).optional() });

const none = z.strictObject({});
const plain = { params: none, query: none, body: undefined, bodyBytes: 0, idempotent: false, problems: [] } as const;
const number = (max: number) =>
  z
    .string()
    .regex(/^\d{1,15}$/, "must be a whole number")
    .transform(Number)
    .pipe(z.int().min(0).max(max));

const labelFilter = z
  .string()
  .max(130)
  .transform((text, context) => {
    const [key = "", ...rest] = text.split("=");
    const parsed = labels.safeParse({ [key]: rest.join("=") });
    if (rest.length > 0 && parsed.success) return [key, rest.join("=")] as const;
    context.addIssue({ code: "custom", message: "a label filter is written key=value" });
    return z.NEVER;
  });

export const healthAnswer = z.strictObject({ status: z.literal("ok"), version: z.literal(1) });
export const endpointList = z.strictObject({ items: z.array(endpoint) });
export const hostList = z.strictObject({
  items: z.array(
    z.strictObject({
      id: hostId,
      /** When it last polled, as long as this process has run. */
      lastSeenAt: z.iso.datetime().optional(),
    }),
  ),
});
export const haltRequest = z.strictObject({ halt: z.boolean() });

const intentBytes = 16_384;

export const routes = {
  health: {
    ...plain,
    method: "get",
    path: "/v1/health",
    summary: "Is the control plane up, with its database?",
    roles: "anyone",
    success: { 200: healthAnswer },
  },
  openapi: {
    ...plain,
    method: "get",
    path: "/v1/openapi.json",
    summary: "This document",
    roles: "anyone",
    success: { 200: z.looseObject({ openapi: z.string() }) },
  },
  createWorkspace: {
    ...plain,
    method: "post",
    path: "/v1/workspaces",
    summary: "Create a workspace from an intent that the tenant has signed",
    roles: ["tenant"],
    body: createWorkspaceRequest,
    bodyBytes: intentBytes,
    idempotent: true,
    success: { 200: workspace, 201: workspace },
    problems: ["intent-refused", "workspace-exists", "name-taken", "too-many-workspaces"],
  },
  listWorkspaces: {
    ...plain,
    method: "get",
    path: "/v1/workspaces",
    summary: "The tenant's workspaces, oldest first",
    roles: ["tenant"],
    query: z.strictObject({
      limit: number(1000).pipe(z.int().min(1)).optional(),
      cursor: z.string().max(200).optional(),
      name: workspaceName.optional(),
      /** Repeated: all must match. */
      label: z.array(labelFilter).max(8).optional(),
      /** `all` adds those that are destroyed, for 7 days. */
      state: z.enum(["live", "all"]).optional(),
    }),
    success: { 200: workspaceList },
  },
  getWorkspace: {
    ...plain,
    method: "get",
    path: "/v1/workspaces/{id}",
    summary: "One workspace; with waitAfter the answer waits for a higher revision, at most waitMs",
    roles: ["tenant"],
    params: z.strictObject({ id: workspaceId }),
    query: z.strictObject({
      waitAfter: number(Number.MAX_SAFE_INTEGER).optional(),
      waitMs: number(60_000).optional(),
    }),
    success: { 200: workspace },
    problems: ["not-found", "too-many-waiting"],
  },
  addIntent: {
    ...plain,
    method: "post",
    path: "/v1/workspaces/{id}/intents",
    summary: "Pass on a signed intent to start, stop or destroy",
    roles: ["tenant"],
    params: z.strictObject({ id: workspaceId }),
    body: intentRequest,
    bodyBytes: intentBytes,
    idempotent: true,
    success: { 200: workspace },
    problems: ["intent-refused", "not-found", "older-serial", "workspace-destroyed"],
  },
  haltWorkspace: {
    ...plain,
    method: "post",
    path: "/v1/workspaces/{id}/halt",
    summary: "The operator's stop, or its end: needs no tenant's signature, and can do nothing else",
    roles: ["host"],
    params: z.strictObject({ id: workspaceId }),
    body: haltRequest,
    bodyBytes: 1024,
    success: { 200: workspace },
    problems: ["not-found"],
  },
  listEndpoints: {
    ...plain,
    method: "get",
    path: "/v1/endpoints",
    summary: "Where the tenant's channels listen, one a host",
    roles: ["tenant"],
    success: { 200: endpointList },
  },
  listHosts: {
    ...plain,
    method: "get",
    path: "/v1/hosts",
    summary: "Hosts of this stack",
    roles: ["tenant", "host"],
    success: { 200: hostList },
  },
  pollHost: {
    ...plain,
    method: "post",
    path: "/v1/hosts/{id}/poll",
    summary: "A host tells what it sees, and waits for what is desired to differ from its version",
    roles: ["host"],
    params: z.strictObject({ id: hostId }),
    body: pollRequest,
    bodyBytes: 4 << 20,
    success: { 200: pollResponse },
    problems: ["too-many-waiting"],
  },
} as const satisfies Record<string, Route>;

export type RouteName = keyof typeof routes;
export const routeNames = Object.keys(routes) as RouteName[];
