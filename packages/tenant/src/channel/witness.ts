import { Code, ConnectError } from "@connectrpc/connect";
import type { AuditEvent, EventAction, Spool } from "@exai/audit";
import { AuditError } from "@exai/audit";
import { type Clock, Trickle } from "@exai/base";
import type { Principal } from "@exai/policy";
import { channelLimits } from "./limits.ts";
import type { MethodRule, Subject } from "./methods.ts";

const mostRemembered = 4096;

/** Writes the events of the data plane's calls, as the table of methods asks. */
export class CallWitness {
  readonly #spool: Spool;
  readonly #clock: Clock;
  /** By guest, callers that were witnessed for a `once` target, oldest first: a guest that boots again counts its
   * processes from 1, and the second is another program. */
  readonly #seen = new WeakMap<object, Set<string>>();
  readonly #ofStrangers = new Trickle(channelLimits.strangerRefusals);
  readonly #ofTenant = new Trickle(channelLimits.tenantRefusals);

  constructor(spool: Spool, clock: Clock) {
    this.#spool = spool;
    this.#clock = clock;
  }

  /**
   * @param guest what the call goes to, one object for each of its lives
   * @throws ConnectError `ResourceExhausted`, `Internal` when the event is not durable: the call must not be made
   */
  async call(rule: MethodRule, principal: Principal, subject: Subject, guest: object = this): Promise<void> {
    const { action, witness } = rule;
    if (action === undefined || witness === "none") return;
    const event = this.#event(action, principal, subject);
    if (witness === "contain") return void this.#spool.contain(event);
    const key = `${principal.subject} ${principal.workspace} ${action} ${subject.target}`;
    const seen = this.#seen.get(guest) ?? new Set();
    if (witness === "once" && seen.has(key)) return;
    try {
      await this.#spool.grant(event);
    } catch (error) {
      throw toConnectError(error);
    }
    if (witness !== "once") return;
    const [oldest] = seen;
    if (seen.size >= mostRemembered && oldest !== undefined) seen.delete(oldest);
    this.#seen.set(guest, seen.add(key));
  }

  /** A caller without a good token, or whose token does not allow it. Only a few are written and the rest counted. */
  refuse(method: string, why: string, principal: Principal | undefined): void {
    const trickle = principal === undefined ? this.#ofStrangers : this.#ofTenant;
    const suppressed = trickle.take(this.#clock.nowMs());
    if (suppressed === undefined) return;
    const detail = { why, ...(suppressed > 0 ? { suppressed } : {}) };
    const event = this.#event("token.refuse", principal, { target: method, detail });
    this.#spool.contain({ ...event, outcome: "refused" });
  }

  #event(action: EventAction, principal: Principal | undefined, subject: Subject): AuditEvent {
    const workspace = principal?.workspace;
    // Which signed token it was: an auditor finds it again in the log of who handed tokens out.
    const token = principal === undefined ? {} : { token: principal.jti.toWellFormed() };
    return {
      ts: this.#clock.nowMs(),
      actor: principal?.subject.toWellFormed() ?? "unknown",
      action,
      target: subject.target,
      outcome: "ok",
      ...(workspace === undefined ? {} : { workspace }),
      detail: { ...subject.detail, ...token },
    };
  }
}

function toConnectError(error: unknown): ConnectError {
  if (!(error instanceof AuditError)) return ConnectError.from(error, Code.Internal);
  switch (error.code) {
    case "no-space":
      return new ConnectError(
        "the audit log has no space left, and nothing is done without its event; the host's operator must make room",
        Code.ResourceExhausted,
      );
    case "busy":
      return new ConnectError("too many calls wait for the audit log", Code.ResourceExhausted);
    case "invalid-event":
      return new ConnectError("the call's audit event would be out of its limits", Code.InvalidArgument);
    default:
      return new ConnectError("the audit log can't be written, and nothing is done without its event", Code.Internal);
  }
}
