import { afterAll } from "vitest";
import { startPostgresql } from "./contract/postgresql.fixture.ts";
import { storeContract } from "./contract/suite.ts";

const server = startPostgresql();
afterAll(() => server[Symbol.dispose]());

storeContract("PostgreSQL", () => ({ kind: "postgresql", urlFile: server.urlFile }));
