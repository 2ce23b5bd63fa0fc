import type { ControlPrincipal } from "@exai/policy";
import type { z } from "zod";
import type { Call } from "../state/idempotency.ts";
import type { RouteName, routes } from "./routes.ts";

type Routes = typeof routes;
type Parsed<T> = T extends z.ZodType ? z.infer<T> : undefined;
type PrincipalOf<Roles> = Roles extends "anyone"
  ? undefined
  : Roles extends readonly (infer R)[]
    ? Extract<ControlPrincipal, { role: R }>
    : never;

export interface Input<Name extends RouteName> {
  readonly principal: PrincipalOf<Routes[Name]["roles"]>;
  readonly params: Parsed<Routes[Name]["params"]>;
  readonly query: Parsed<Routes[Name]["query"]>;
  readonly body: Parsed<Routes[Name]["body"]>;
  readonly call: Call;
  /** The client is gone, or the process ends. */
  readonly gone: AbortSignal;
}

export interface Output {
  readonly status: number;
  readonly json: string;
}

export type Handlers = { readonly [Name in RouteName]: (input: Input<Name>) => Promise<Output> };

export const ok = (value: unknown): Output => ({ status: 200, json: JSON.stringify(value) });
