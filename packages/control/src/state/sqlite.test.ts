import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sql } from "kysely";
import { afterAll, expect, test } from "vitest";
import { storeContract } from "./contract/suite.ts";
import { openDatabase } from "./open.ts";

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

test("a file that is no database, or a folder that is not there, is said", async () => {
  await expect(openDatabase({ kind: "sqlite", file: join(folder, "none", "state.db") })).rejects.toMatchObject({
    code: "database",
  });
});
