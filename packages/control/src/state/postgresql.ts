import { PostgresDialect } from "kysely";
import pg from "pg";

const int8 = 20;

/** Loaded only when the configuration asks for PostgreSQL. */
export function postgresqlDialect(url: string): PostgresDialect {
  const pool = new pg.Pool({
    connectionString: url,
    max: 8,
    connectionTimeoutMillis: 5000,
    statement_timeout: 10_000,
    idle_in_transaction_session_timeout: 10_000,
    // Every 64-bit number of ours is a safe integer; the driver would give text.
    types: { getTypeParser: (oid, format) => (oid === int8 ? Number : pg.types.getTypeParser(oid, format)) },
  });
  // An idle connection that breaks is replaced at the next query; without a listener it would end the process.
  pool.on("error", () => {});
  return new PostgresDialect({ pool });
}
