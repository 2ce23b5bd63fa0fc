import { expect, test } from "vitest";
import { Notifier } from "./notifier.ts";

const never = new AbortController().signal;

test("a change between subscribing and waiting is not lost", async () => {
  const notifier = new Notifier();
  using news = notifier.subscribe("a");
  notifier.notify("a");
  expect(await news.wait(10_000, never)).toBe(true);
  expect(await news.wait(10, never)).toBe(false);
});

test("topics are apart, every waiter is woken, and nobody stays behind", async () => {
  const notifier = new Notifier();
  using other = notifier.subscribe("b");
  const waits = Array.from({ length: 100 }, async () => {
    using news = notifier.subscribe("a");
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
  using news = new Notifier().subscribe("a");
  const wait = news.wait(10_000, gone.signal);
  gone.abort();
  expect(await wait).toBe(false);
});

test("the number of waiters is bounded", () => {
  const notifier = new Notifier();
  using all = new DisposableStack();
  for (let n = 0; n < 4096; n++) all.use(notifier.subscribe(`t${n}`));
  expect(() => notifier.subscribe("x")).toThrow(/try again/);
});
