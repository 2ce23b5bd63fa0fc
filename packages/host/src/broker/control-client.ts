import { createPrivateKey, randomUUID, sign } from "node:crypto";
import { readFileSync } from "node:fs";
import { Agent, request } from "node:http";
import { audiences, jwsTypes, type PollRequest, type PollResponse, pollResponse } from "@exai/api";
import type { Clock, HostId } from "@exai/base";
import { HostError } from "../errors.ts";

const longestAnswerBytes = 64 << 20;
const tokenSeconds = 300;
/** Made anew when less of its life is left: the same one again needs no new signature, here or to be checked there. */
const leastLeftSeconds = 150;

/** The broker's outbound calls to the control plane; the only direction in which the two ever talk. */
export class ControlClient implements Disposable {
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 2 });
  readonly #key;
  readonly #options;
  #token = { text: "", exp: 0 };

  constructor(options: { socket: string; host: HostId; hostKeyFile: string; clock: Clock }) {
    this.#options = options;
    this.#key = createPrivateKey(readFileSync(options.hostKeyFile));
  }

  /** @throws HostError `control` when it can't be reached or answers nonsense: to be tried again */
  async poll(body: PollRequest, signal: AbortSignal): Promise<PollResponse> {
    const text = await this.#post(`/v1/hosts/${this.#options.host}/poll`, JSON.stringify(body), signal, body.waitMs);
    try {
      return pollResponse.parse(JSON.parse(text));
    } catch (cause) {
      throw new HostError("control", "the control plane's answer breaks the contract", { cause });
    }
  }

  #post(path: string, body: string, signal: AbortSignal, waitMs: number): Promise<string> {
    return new Promise((resolve, reject) => {
      const fail = (cause: unknown) =>
        reject(new HostError("control", "the control plane can't be reached", { cause }));
      const call = request(
        {
          socketPath: this.#options.socket,
          path,
          method: "POST",
          agent: this.#agent,
          signal,
          timeout: waitMs + 10_000,
          headers: { "content-type": "application/json", authorization: `Bearer ${this.#bearer()}` },
        },
        (answer) => {
          const chunks: Buffer[] = [];
          let bytes = 0;
          answer.on("data", (chunk: Buffer) => {
            bytes += chunk.length;
            if (bytes > longestAnswerBytes) answer.destroy(new Error("the answer is too long"));
            else chunks.push(chunk);
          });
          answer.on("error", fail);
          answer.on("end", () => {
            if (answer.statusCode === 200) resolve(Buffer.concat(chunks).toString("utf8"));
            else fail(new Error(`status ${answer.statusCode}`));
          });
        },
      );
      call.on("timeout", () => call.destroy(new Error("no answer in time")));
      call.on("error", fail);
      call.end(body);
    });
  }

  /** A short-lived token signed by the host key (RFC 7515 compact serialisation, RFC 8037 EdDSA). */
  #bearer(): string {
    const now = Math.floor(this.#options.clock.nowMs() / 1000);
    if (this.#token.exp - now > leastLeftSeconds && this.#token.exp - now <= tokenSeconds) return this.#token.text;
    const { host } = this.#options;
    const claims = {
      iss: host,
      aud: audiences.control,
      sub: "broker",
      role: "host",
      iat: now,
      exp: now + tokenSeconds,
      jti: randomUUID(),
    };
    const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url");
    const input = `${encode({ alg: "EdDSA", typ: jwsTypes.control })}.${encode(claims)}`;
    const text = `${input}.${sign(null, Buffer.from(input), this.#key).toString("base64url")}`;
    this.#token = { text, exp: claims.exp };
    return text;
  }

  [Symbol.dispose](): void {
    this.#agent.destroy();
  }
}
