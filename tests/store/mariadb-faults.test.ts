/** MariaDB away, cut off, standing still or badly set up. */
import { afterEach, expect, test } from "vitest"
import { refusal, sqlFaults } from "../contract/sql-faults.contract.ts"
import { MariadbStores } from "../harness/mariadb-stores.ts"

const mariadb = new MariadbStores()

sqlFaults(mariadb, { refusal: /Access denied for user 'root'.*error 1045/ })

const set = (setting: string) => mariadb.server.query("", `SET GLOBAL ${setting}`)
afterEach(() => set("innodb_flush_log_at_trx_commit = 1"))

test("a server that does not wait for the disk is refused", async () => {
  await set("innodb_flush_log_at_trx_commit = 2")
  const { code, message } = await refusal(mariadb.open())
  expect(code).toBe("ConfigInvalid")
  expect(message).toContain("innodb_flush_log_at_trx_commit is 2, expected 1")
})
