/** Writes spec/openapi.json: `node packages/control/src/openapi.ts`. Never loaded by a running control plane. */
import { writeFileSync } from "node:fs";
import { desiredWorkspace, endpoint, observation, problem, timings, workspace, workspaceList } from "@exai/api";
import { z } from "zod";
import { type ProblemCode, problemStatus } from "./errors.ts";
import { idempotencyHeaders, type Route, routeNames, routes } from "./http/routes.ts";

const file = new URL("../../../spec/openapi.json", import.meta.url);

type JsonObject = Record<string, unknown>;

const components = {
  Workspace: workspace,
  WorkspaceList: workspaceList,
  Observation: observation,
  Timings: timings,
  Endpoint: endpoint,
  DesiredWorkspace: desiredWorkspace,
  Problem: problem,
};
const names = z.registry<{ id: string }>();
for (const [id, schema] of Object.entries(components)) names.add(schema, { id });

/** The OpenAPI 3.1 document of the whole API, made from the routes that the server mounts. */
export function openApiDocument(): JsonObject {
  const schemas: JsonObject = {};
  for (const [name, schema] of Object.entries(components))
    Object.assign(schemas, { [name]: definitionOf(name, schema) });
  const paths: Record<string, JsonObject> = {};
  for (const name of routeNames) {
    const route: Route = routes[name];
    paths[route.path] = { ...paths[route.path], [route.method]: operation(name, route) };
  }
  return {
    openapi: "3.1.0",
    info: {
      title: "exAI control plane",
      version: "1",
      description:
        "It stores what tenants sign and tells hosts. It can stop a workspace; it can't open or destroy one.",
      license: { name: "Apache-2.0", identifier: "Apache-2.0" },
    },
    paths,
    components: { schemas, securitySchemes: { token: securityScheme } },
  };
}

const securityScheme = {
  type: "http",
  scheme: "bearer",
  bearerFormat: "JWT",
  description: "EdDSA JWT signed by the caller's own key; typ exai-control+jwt, audience exai-control, at most 600 s",
};

function operation(name: string, route: Route): JsonObject {
  const responses: JsonObject = {};
  for (const [status, schema] of Object.entries(route.success)) {
    responses[status] = { description: "Done", content: { "application/json": { schema: schemaOf(schema) } } };
  }
  for (const [status, codes] of problemsOf(route)) {
    const content = { "application/problem+json": { schema: schemaOf(problem) } };
    responses[status] = { description: `RFC 9457; code ${codes.join(" or ")}`, content };
  }
  const body = route.body === undefined ? {} : { requestBody: requestBody(route.body) };
  const parameters = [
    ...parametersOf("path", route.params),
    ...parametersOf("query", route.query),
    ...(route.idempotent ? parametersOf("header", idempotencyHeaders) : []),
  ];
  return {
    operationId: name,
    summary: route.summary,
    "x-exai-roles": route.roles,
    security: route.roles === "anyone" ? [] : [{ token: [] }],
    ...(parameters.length === 0 ? {} : { parameters }),
    ...body,
    responses,
  };
}

const requestBody = (schema: z.ZodType): JsonObject => ({
  required: true,
  content: { "application/json": { schema: schemaOf(schema) } },
});

function parametersOf(where: "path" | "query" | "header", schema: z.ZodType): JsonObject[] {
  const { properties = {}, required = [] } = schemaOf(schema) as { properties?: JsonObject; required?: string[] };
  return Object.entries(properties).map(([name, of]) => ({
    name,
    in: where,
    required: required.includes(name),
    schema: of,
  }));
}

/** JSON Schema 2020-12, which is OpenAPI 3.1's own dialect; named schemas become references. */
function schemaOf(schema: z.ZodType): JsonObject {
  const name = names.get(schema)?.id;
  return name === undefined ? definitionOf("", schema) : { $ref: `#/components/schemas/${name}` };
}

function definitionOf(own: string, schema: z.ZodType): JsonObject {
  // What a client sends, before our transformations. Refinements (an id's) have no JSON schema and stay out.
  const made = z.toJSONSchema(schema, { io: "input", metadata: names });
  // A schema with a name is put among the definitions itself.
  const { $schema: _, $defs: __, id: ___, ...definition } = own === "" ? made : (made.$defs?.[own] ?? made);
  return JSON.parse(JSON.stringify(definition).replaceAll(/"#\/\$defs\/(\w+)"/g, '"#/components/schemas/$1"'));
}

/** Codes by status: the endpoint's own, and those that follow from what it takes. */
function problemsOf(route: Route): Map<string, ProblemCode[]> {
  const codes: ProblemCode[] = ["malformed-request", "internal", ...route.problems];
  if (route.roles !== "anyone") codes.push("unauthenticated", "forbidden");
  if (route.body !== undefined) codes.push("body-too-large", "not-json");
  if (route.idempotent) codes.push("idempotency-key-reused");
  const byStatus = new Map<string, ProblemCode[]>();
  for (const code of codes.toSorted()) {
    const status = String(problemStatus[code]);
    byStatus.set(status, [...(byStatus.get(status) ?? []), code]);
  }
  return byStatus;
}

if (import.meta.main) writeFileSync(file, `${JSON.stringify(openApiDocument(), null, 2)}\n`);
