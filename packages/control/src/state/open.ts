import { readFileSync } from "node:fs";
import type { ControlConfig } from "@exai/api/host";
import { Kysely } from "kysely";
import { ControlError } from "../errors.ts";
import { type DialectName, migrate } from "./migrations.ts";
import type { Database } from "./schema.ts";

export interface OpenDatabase extends AsyncDisposable {
  readonly db: Kysely<Database>;
  readonly dialect: DialectName;
}

/**
 * Opens and migrates the database; the driver of the other kind is never loaded.
 * @throws ControlError `database-newer`, `database`
 */
export async function openDatabase(config: ControlConfig["database"]): Promise<OpenDatabase> {
  const db = new Kysely<Database>({ dialect: await dialectOf(config) });
  try {
    await migrate(db, config.kind);
  } catch (error) {
    await db.destroy();
    if (error instanceof ControlError) throw error;
    throw new ControlError("database", "the database can't be opened", { cause: error });
  }
  return { db, dialect: config.kind, [Symbol.asyncDispose]: () => db.destroy() };
}

async function dialectOf(config: ControlConfig["database"]) {
  if (config.kind === "sqlite") {
    const { sqliteDialect } = await import("./sqlite.ts");
    return sqliteDialect(config.file);
  }
  const { postgresqlDialect } = await import("./postgresql.ts");
  return postgresqlDialect(readFileSync(config.urlFile, "utf8").trim());
}
