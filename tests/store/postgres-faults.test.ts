/** PostgreSQL away, cut off, standing still or badly set up. */
import { expect, test } from "vitest"
import { refusal, sqlFaults } from "../contract/sql-faults.contract.ts"
import { create, ROOT } from "../contract/store-helpers.ts"
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

test("a table that was put back and takes no rows: writes and lists tell why", async () => {
  const store = await pg.open()
  await create(store, "a", "x")
  const revision = await create(store, "b", "x")
  await pg.query(`
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
      $$BEGIN RAISE EXCEPTION 'cache lookup failed' USING ERRCODE = 'internal_error'; END$$;
    CREATE TRIGGER refuse BEFORE INSERT ON kine FOR EACH ROW EXECUTE FUNCTION refuse();
    DELETE FROM kine WHERE id = ${revision}`)
  for (const asked of [create(store, "c", "x"), store.list({ prefix: ROOT })]) {
    const { code, message } = await refusal(asked)
    expect(code).toBe("StoreUnavailable")
    expect(message).toContain("cache lookup failed (SQLSTATE XX000)")
  }
})
