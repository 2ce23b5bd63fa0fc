import { expect, test } from "vitest";
import { Notifier } from "./notifier.ts";

const never = new AbortController().signal;
const acme = { role: "tenant", id: "acme" } as const;

test("a change between subscribing and waiting is not lost", async () => {
  const notifier = new Notifier();
  using news = notifier.subscribe("a", acme);
  notifier.notify("a");
  expect(await news.wait(10_000, never)).toBe(true);
  expect(await news.wait(10, never)).toBe(false);
});

test("topics are apart, every waiter is woken, and nobody stays behind", async () => {
  const notifier = new Notifier();
  using other = notifier.subscribe("b", acme);
  const waits = Array.from({ length: 100 }, async () => {
    using news = notifier.subscribe("a", acme);
    return await news.wait(10_000, never);
  });
  expect(notifier.waiting).toBe(101);
  notifier.notify("a");
  expect(new Set(await Promise.all(waits))).toEqual(new Set([true]));
  expect(await other.wait(10, never)).toBe(false);
  expect(notifier.waiting).toBe(1);
});

test("a wait ends with its signal", async () => {
  const gone = new AbortController();
  using news = new Notifier().subscribe("a", acme);
  const wait = news.wait(10_000, gone.signal);
  gone.abort();
  expect(await wait).toBe(false);
});

test("one tenant's waiters are bounded, and so are all tenants'; a host still waits", () => {
  const notifier = new Notifier();
  using all = new DisposableStack();
  for (let n = 0; n < 256; n++) all.use(notifier.subscribe(`t${n}`, acme));
  expect(() => notifier.subscribe("x", acme)).toThrow(/try again/);
  for (let n = 256; n < 4096; n++) all.use(notifier.subscribe(`t${n}`, { role: "tenant", id: `tenant ${n >> 8}` }));
  expect(() => notifier.subscribe("x", { role: "tenant", id: "globex" })).toThrow(/try again/);
  all.use(notifier.subscribe("h", { role: "host", id: "host" }));
  expect(notifier.waiting).toBe(4097);
  all.dispose();
  expect(notifier.waiting).toBe(0);
  notifier.subscribe("x", acme)[Symbol.dispose]();
});
