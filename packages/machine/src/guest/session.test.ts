import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { Code, ConnectError } from "@connectrpc/connect";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { dialGuest } from "./dial.ts";
import { type DoubleServices, serveDouble } from "./double.ts";
import { channelFault, GuestError } from "./errors.ts";
import { connectGuest } from "./session.ts";

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "exai-guest-"));
});
afterEach(() => rmSync(folder, { recursive: true }));
const socket = () => join(folder, "guest.sock");
const serve = (services: DoubleServices) => serveDouble(socket(), services);
const options = { hostname: "test" };

const caught = async (promise: Promise<unknown>): Promise<unknown> => {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error("it did not fail");
};

describe("connectGuest", () => {
  it("sends clock, entropy and name, and returns what the guest says", async () => {
    let seen: { hostname: string; now: bigint; entropy: number } | undefined;
    await using _guest = await serve({
      machine: {
        hello: (request) => {
          seen = { hostname: request.hostname, now: request.nowUnixNs, entropy: request.entropy.length };
          return { contract: 1, agentVersion: "a", kernelRelease: "k" };
        },
      },
    });
    using session = await connectGuest(socket(), { ...options, nowMs: () => 1234.5 });
    expect(session.hello.kernelRelease).toBe("k");
    expect(seen).toEqual({ hostname: "test", now: 1_234_500_000n, entropy: 64 });
  });

  it("refuses another contract", async () => {
    await using _guest = await serve({ machine: { hello: () => ({ contract: 2 }) } });
    const error = await caught(connectGuest(socket(), options));
    expect(error).toBeInstanceOf(GuestError);
    expect(error).toMatchObject({ code: "wrong-contract" });
  });

  it("says no-guest when nobody listens", async () => {
    expect(await caught(connectGuest(socket(), options))).toMatchObject({ code: "no-guest" });
  });

  it("passes a guest's own status through, without a channel fault", async () => {
    await using _guest = await serve({
      files: {
        stat: () => {
          throw new ConnectError("no such file", Code.NotFound);
        },
      },
    });
    using session = await connectGuest(socket(), options);
    const error = await caught(session.files.stat({ path: Buffer.from("/x") }));
    expect(error).toMatchObject({ code: Code.NotFound, rawMessage: "no such file" });
    expect(channelFault(error)).toBeUndefined();
  });
});

describe("streams", () => {
  it("brings every byte of a long download, in order", async () => {
    const blocks = 200;
    await using _guest = await serve({
      files: {
        async *read() {
          for (let at = 0; at < blocks; at++)
            yield { offset: BigInt(at * 65_536), data: new Uint8Array(65_536).fill(at) };
        },
      },
    });
    using session = await connectGuest(socket(), options);
    let total = 0;
    for await (const chunk of session.files.read({ path: Buffer.from("/x") })) {
      expect(Number(chunk.offset)).toBe(total);
      expect(chunk.data[65_535]).toBe((total / 65_536) & 255);
      total += chunk.data.length;
    }
    expect(total).toBe(blocks * 65_536);
  });

  it("stops the sender while nobody reads, and leaves other calls alone", async () => {
    let sent = 0;
    await using _guest = await serve({
      files: {
        async *read() {
          for (; sent < 1000; sent++) yield { data: new Uint8Array(65_536) };
        },
        stat: () => ({ sizeBytes: 7n }),
      },
    });
    using session = await connectGuest(socket(), options);
    const stream = session.files.read({ path: Buffer.from("/x") })[Symbol.asyncIterator]();
    await stream.next();
    await delay(200);
    expect(sent).toBeLessThan(20);
    expect((await session.files.stat({ path: Buffer.from("/y") })).sizeBytes).toBe(7n);
    let rest = 1;
    for (let next = await stream.next(); next.done !== true; next = await stream.next()) rest++;
    expect(rest).toBe(1000);
  });

  it("stops our sender while the guest does not read", async () => {
    const gate = Promise.withResolvers<void>();
    await using _guest = await serve({
      files: {
        async write(frames) {
          let size = 0n;
          for await (const frame of frames) {
            await gate.promise;
            if (frame.frame.case === "data") size += BigInt(frame.frame.value.length);
          }
          return { sizeBytes: size };
        },
      },
    });
    using session = await connectGuest(socket(), options);
    let made = 0;
    async function* body() {
      yield { frame: { case: "open" as const, value: { path: Buffer.from("/x") } } };
      for (; made < 400; made++) yield { frame: { case: "data" as const, value: new Uint8Array(65_536) } };
    }
    const done = session.files.write(body());
    await delay(200);
    expect(made).toBeLessThan(40);
    gate.resolve();
    expect((await done).sizeBytes).toBe(400n * 65_536n);
  });

  it("carries both ways at once, and tells the guest of a cancel", async () => {
    const cancelled = Promise.withResolvers<void>();
    await using _guest = await serve({
      ports: {
        async *connect(frames, context) {
          context.signal.addEventListener("abort", () => cancelled.resolve());
          yield { frame: { case: "connected", value: {} } };
          for await (const frame of frames) if (frame.frame.case === "data") yield frame;
        },
      },
    });
    using session = await connectGuest(socket(), options);
    const abort = new AbortController();
    async function* input() {
      yield { frame: { case: "connect" as const, value: { port: 80 } } };
      yield { frame: { case: "data" as const, value: Buffer.from("hello") } };
      await new Promise(() => undefined);
    }
    const replies = session.ports.connect(input(), { signal: abort.signal })[Symbol.asyncIterator]();
    expect((await replies.next()).value?.frame.case).toBe("connected");
    expect(Buffer.from((await replies.next()).value?.frame.value as Uint8Array).toString()).toBe("hello");
    abort.abort();
    expect(await caught(replies.next())).toMatchObject({ code: Code.Canceled });
    await cancelled.promise;
  });

  it("tells the guest when a reader leaves early", async () => {
    const cancelled = Promise.withResolvers<void>();
    await using _guest = await serve({
      files: {
        async *read(_request, context) {
          context.signal.addEventListener("abort", () => cancelled.resolve());
          for (;;) yield { data: new Uint8Array(65_536) };
        },
      },
    });
    using session = await connectGuest(socket(), options);
    for await (const _chunk of session.files.read({ path: Buffer.from("/x") })) break;
    await cancelled.promise;
  });
});

describe("a lost channel", () => {
  it("ends open calls with a typed fault and settles `lost`", async () => {
    await using guest = await serve({ processes: { wait: () => new Promise(() => undefined) } });
    using session = await connectGuest(socket(), options);
    const waiting = caught(session.processes.wait({ process: 1n }));
    await delay(50);
    guest.cut();
    expect(channelFault(await waiting)).toMatchObject({ code: "channel-lost" });
    expect((await session.lost).code).toBe("channel-lost");
    expect(channelFault(await caught(session.processes.list({})))).toMatchObject({ code: "channel-lost" });
  });

  it("is told from a reset when the socket just ends, as QEMU's does", async () => {
    await using guest = await serve({ processes: { wait: () => new Promise(() => undefined) } });
    using session = await connectGuest(socket(), options);
    const waiting = caught(session.processes.wait({ process: 1n }));
    await delay(50);
    guest.end();
    expect(channelFault(await waiting)).toMatchObject({ code: "channel-lost" });
  });

  it("is dialled again", async () => {
    setTimeout(() => void open(), 100);
    let guest: AsyncDisposable | undefined;
    const open = async () => {
      guest = await serve({});
    };
    using session = await dialGuest(socket(), { ...options, timeoutMs: 5000 });
    expect(session.hello.agentVersion).toBe("double");
    await guest?.[Symbol.asyncDispose]();
    expect(await caught(dialGuest(socket(), { ...options, timeoutMs: 100 }))).toMatchObject({ code: "no-guest" });
  });

  it("ends a call that the guest leaves hanging, and only that", async () => {
    await using _guest = await serve({
      files: { stat: () => new Promise(() => undefined) },
      processes: { wait: () => new Promise((resolve) => setTimeout(() => resolve({ code: 3 }), 300)) },
    });
    using session = await connectGuest(socket(), { ...options, limits: { unaryTimeoutMs: 100 } });
    const wait = session.processes.wait({ process: 1n });
    const error = await caught(session.files.stat({ path: Buffer.from("/x") }));
    expect(channelFault(error)).toMatchObject({ code: "stalled" });
    expect((await wait).code).toBe(3);
  });

  it("bounds calls at once", async () => {
    await using _guest = await serve({ processes: { wait: () => new Promise(() => undefined) } });
    using session = await connectGuest(socket(), { ...options, limits: { streams: 4 } });
    const waits = Array.from({ length: 4 }, () => caught(session.processes.wait({ process: 1n })));
    expect(channelFault(await caught(session.processes.list({})))).toMatchObject({ code: "too-many-calls" });
    session[Symbol.dispose]();
    for (const error of await Promise.all(waits)) expect(channelFault(error)).toMatchObject({ code: "closed" });
  });
});
