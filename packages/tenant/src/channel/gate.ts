import { Code, ConnectError, createContextKey, type HandlerContext } from "@connectrpc/connect";
import { errorCode } from "@exai/base";
import { type Authenticator, authorise, PolicyError, type Principal } from "@exai/policy";
import { type MethodRule, ruleOf } from "./methods.ts";
import type { CallWitness } from "./witness.ts";

/** Who is let in, set by the gate before any byte of a request's body is read. */
const admittedKey = createContextKey<Admitted | undefined>(undefined, { description: "admitted" });
/** Called once a connection has shown a good token. */
export const connectionKey = createContextKey<(() => void) | undefined>(undefined, { description: "connection" });

export interface Admitted {
  readonly principal: Principal;
  readonly rule: MethodRule;
}

/** @throws ConnectError `Unauthenticated`, `PermissionDenied` */
export function createGate(authenticate: Authenticator, witness: CallWitness) {
  return async (context: HandlerContext): Promise<void> => {
    const name = `${context.service.typeName}/${context.method.name}`;
    const rule = ruleOf(context.method);
    if (rule === undefined) throw new ConnectError("the method is not served", Code.Unimplemented);
    let principal: Principal | undefined;
    try {
      principal = await authenticate(bearer(context.requestHeader));
      authorise(principal, { workspace: principal.workspace ?? noWorkspace, scope: rule.scope });
    } catch (error) {
      witness.refuse(name, errorCode(error) ?? "refused", principal);
      throw refusal(error, principal !== undefined);
    }
    context.values.get(connectionKey)?.();
    context.values.set(admittedKey, { principal, rule });
  };
}

// A token without a workspace is for no workspace at all: this is nobody's id.
const noWorkspace = "" as NonNullable<Principal["workspace"]>;

/** @throws ConnectError when a call got past the gate, which is a bug */
export function admitted(context: HandlerContext): Admitted {
  const found = context.values.get(admittedKey);
  if (found === undefined) throw new ConnectError("the call was not admitted", Code.Unauthenticated);
  return found;
}

const longestToken = 8192;

function bearer(header: Headers): string {
  const match = /^Bearer ([\w.-]+)$/i.exec(header.get("authorization") ?? "");
  const token = match?.[1];
  if (token === undefined || token.length > longestToken) {
    throw new PolicyError("malformed", "the call needs a header 'authorization: Bearer <token>'");
  }
  return token;
}

function refusal(error: unknown, authenticated: boolean): ConnectError {
  if (!(error instanceof PolicyError)) return new ConnectError("the token could not be checked", Code.Unauthenticated);
  return new ConnectError(error.message, authenticated ? Code.PermissionDenied : Code.Unauthenticated);
}
