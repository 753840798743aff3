import { openPostgres } from "../../src/store/postgres.ts"
import type { PostgresAddress } from "../../src/store/postgres-url.ts"
import { Postgres } from "./postgres.ts"
import { SqlStores } from "./sql-stores.ts"

/** One PostgreSQL for a test file. */
export class PostgresStores extends SqlStores<PostgresAddress, Postgres> {
  constructor(...settings: readonly string[]) {
    super({
      program: "postgres",
      start: () => Postgres.start(...settings),
      open: (address) => openPostgres({ address }),
    })
  }
}
