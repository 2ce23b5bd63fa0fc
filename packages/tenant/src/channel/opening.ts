import type { Message } from "@bufbuild/protobuf";
import type { HandlerContext } from "@connectrpc/connect";
import type { GuestSession } from "@exai/machine/guest";
import { admitted } from "./gate.ts";
import type { Sessions } from "./sessions.ts";
import type { CallWitness } from "./witness.ts";

/** What every forwarded call does between the gate and the guest. */
export class CallOpener {
  readonly #sessions: Sessions;
  readonly #witness: CallWitness;

  constructor(sessions: Sessions, witness: CallWitness) {
    this.#sessions = sessions;
    this.#witness = witness;
  }

  /**
   * The guest's session, and the call's event durable where the table asks for it: from here on the call may be made.
   * @param first the request, or a stream's first message
   * @throws TenantError; ConnectError
   */
  async open(first: Message, context: HandlerContext): Promise<GuestSession> {
    const { principal, rule } = admitted(context);
    const guest = await this.#sessions.acquire(principal.workspace, { signal: context.signal });
    await this.#witness.call(rule, principal, rule.subject(first as never), guest);
    return guest;
  }
}
