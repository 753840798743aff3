/** PostgreSQL away, cut off, standing still or badly set up. */
import { expect, test } from "vitest"
import { refusal, sqlFaults } from "../contract/sql-faults.contract.ts"
import { PostgresStores } from "../harness/postgres-stores.ts"

const pg = new PostgresStores()

sqlFaults(pg, { refusal: /SQLSTATE 28P01/ })

test("a server that does not wait for the disk is refused", async () => {
  await pg.server.query("postgres", `CREATE DATABASE ${pg.database}`)
  await pg.query(`ALTER DATABASE ${pg.database} SET synchronous_commit = off`)
  const { code, message } = await refusal(pg.open())
  expect(code).toBe("ConfigInvalid")
  expect(message).toContain("synchronous_commit is off")
})
