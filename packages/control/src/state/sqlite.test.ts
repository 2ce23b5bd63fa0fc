import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { newHostId } from "@exai/base";
import { sql } from "kysely";
import { afterAll, expect, test, vi } from "vitest";
import { storeContract } from "./contract/suite.ts";
import { openDatabase } from "./open.ts";
import { Store } from "./store.ts";

const folder = mkdtempSync(join(tmpdir(), "exai-sqlite-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

storeContract("SQLite", () => ({ kind: "sqlite", file: join(folder, "state.db") }));

test("a commit is on the disk when it returns, references hold, and types are kept", async () => {
  await using open = await openDatabase({ kind: "sqlite", file: join(folder, "pragmas.db") });
  const pragma = async (name: string) =>
    Object.values((await sql.raw(`pragma ${name}`).execute(open.db)).rows[0] ?? {})[0];
  expect(await pragma("journal_mode")).toBe("wal");
  expect(await pragma("synchronous")).toBe(2);
  expect(await pragma("foreign_keys")).toBe(1);
  expect(await pragma("busy_timeout")).toBe(5000);
  expect(await pragma("temp_store")).toBe(2);
  const orphan = { workspace: "w", serial: 1, jti: "j", jws: "x" };
  await expect(open.db.insertInto("intents").values(orphan).execute()).rejects.toThrow(/FOREIGN KEY/);
  const wrong = { id: "h", version: "many" as unknown as number };
  await expect(open.db.insertInto("hosts").values(wrong).execute()).rejects.toThrow(/cannot store TEXT/);
});

test("a migration that was killed between two of its statements is begun again", async () => {
  const file = join(folder, "begun.db");
  await using _ = await openDatabase({ kind: "sqlite", file });
  using plain = new DatabaseSync(file);
  const indexes = () => plain.prepare("select name from sqlite_master where name like 'workspaces_%' order by 1").all();
  const whole = indexes();
  plain.exec("delete from kysely_migration where name = '0002-live'");
  plain.exec("drop index workspaces_kept");
  plain.exec("create index workspaces_host on workspaces (host)");
  await using _again = await openDatabase({ kind: "sqlite", file });
  expect(indexes()).toEqual(whole);
});

test("neither a creation nor a poll reads what is destroyed", async () => {
  const file = join(folder, "plans.db");
  await using open = await openDatabase({ kind: "sqlite", file });
  const store = new Store(open);
  const prepared = vi.spyOn(DatabaseSync.prototype, "prepare");
  await store.loads([newHostId()]);
  await store.desired(newHostId());
  const sent = prepared.mock.calls.map(([text]) => text);
  prepared.mockRestore();
  using plain = new DatabaseSync(file);
  const plans = sent.map((text) =>
    plain
      .prepare(`explain query plan ${text}`)
      .all()
      .map(({ detail }) => detail),
  );
  expect(plans).toHaveLength(2);
  expect(plans[0]).toContain("SCAN workspaces USING INDEX workspaces_live");
  expect(plans[1]).toContainEqual(expect.stringMatching(/^SEARCH workspaces USING INDEX workspaces_kept \(host=/));
});

test("a file that is no database, or a folder that is not there, is said", async () => {
  await expect(openDatabase({ kind: "sqlite", file: join(folder, "none", "state.db") })).rejects.toMatchObject({
    code: "database",
  });
});
