import { type Kysely, sql } from "kysely";
import { type Migration, Migrator } from "kysely/migration";
import { ControlError } from "../errors.ts";

export type DialectName = "sqlite" | "postgresql";

/**
 * Embedded, in order of their names; one that was released is never changed. SQLite takes each statement by itself: all but
 * the first migration, which finds an empty file, must take being begun again.
 */
const migrations: Record<string, (dialect: DialectName) => readonly string[]> = {
  "0001-first": (dialect) => {
    // SQLite's INTEGER has 64 bits; without STRICT it would take a text where a number belongs.
    const [integer, end] = dialect === "sqlite" ? ["integer", " strict"] : ["bigint", ""];
    return [
      `create table workspaces (
        id text primary key, tenant text not null, host text not null, name text, spec text not null,
        memory_mib ${integer} not null, created_at ${integer} not null,
        desired text not null check (desired in ('running', 'stopped', 'destroyed')),
        halt ${integer} not null default 0 check (halt in (0, 1)),
        creation_intent text not null, last_serial ${integer} not null,
        observed text, observed_phase text, revision ${integer} not null default 1, ended_at ${integer})${end}`,
      "create unique index workspaces_name on workspaces (tenant, name) where ended_at is null",
      "create index workspaces_page on workspaces (tenant, created_at, id)",
      "create index workspaces_host on workspaces (host)",
      `create table workspace_labels (
        workspace text not null references workspaces (id) on delete cascade,
        key text not null, value text not null, primary key (workspace, key))${end}`,
      `create table intents (
        workspace text not null references workspaces (id) on delete cascade,
        serial ${integer} not null, jti text not null, jws text not null, primary key (workspace, serial))${end}`,
      `create table hosts (id text primary key, version ${integer} not null)${end}`,
      `create table endpoints (
        tenant text not null, host text not null, url text not null, primary key (tenant, host))${end}`,
      `create table idempotency (
        principal text not null, key text not null, digest text not null, status ${integer} not null,
        body text not null, created_at ${integer} not null, primary key (principal, key))${end}`,
      "create index idempotency_age on idempotency (created_at)",
    ];
  },
  // What is destroyed is remembered for a week: neither a creation nor a poll may cost the more for it.
  "0002-live": () => [
    "create index if not exists workspaces_live on workspaces (host, memory_mib) where ended_at is null",
    // In the words of `keptByHost`: whoever asks in others does not get this index.
    `create index if not exists workspaces_kept on workspaces (host, created_at, id)
      where (observed_phase is null or observed_phase <> 'destroyed')`,
    "drop index if exists workspaces_host",
  ],
};

/**
 * Brings the database to this program's schema.
 * @throws ControlError `database-newer` when a newer program has written it, `database` when a step fails
 */
// biome-ignore lint/suspicious/noExplicitAny: migrations see whatever tables there are (Kysely's own convention)
export async function migrate(db: Kysely<any>, dialect: DialectName): Promise<void> {
  const steps: Record<string, Migration> = {};
  for (const [name, statements] of Object.entries(migrations)) {
    steps[name] = {
      up: async (tx) => {
        for (const statement of statements(dialect)) await sql.raw(statement).execute(tx);
      },
    };
  }
  await refuseNewer(db);
  const migrator = new Migrator({ db, provider: { getMigrations: async () => steps } });
  const { error } = await migrator.migrateToLatest();
  if (error !== undefined) throw new ControlError("database", "the database could not be migrated", { cause: error });
}

// biome-ignore lint/suspicious/noExplicitAny: as above
async function refuseNewer(db: Kysely<any>): Promise<void> {
  const tables = await db.introspection.getTables({ withInternalKyselyTables: true });
  if (!tables.some((table) => table.name === "kysely_migration")) return;
  const { rows } = await sql<{ name: string }>`select name from kysely_migration`.execute(db);
  const unknown = rows.find(({ name }) => !Object.hasOwn(migrations, name));
  if (unknown === undefined) return;
  throw new ControlError(
    "database-newer",
    `the database was written by a newer exai (migration ${unknown.name}); start that version, or restore an older copy`,
  );
}
