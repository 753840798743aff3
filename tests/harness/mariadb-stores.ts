import { openMysql } from "../../src/store/mysql.ts"
import type { MysqlAddress } from "../../src/store/mysql-url.ts"
import { Mariadb } from "./mariadb.ts"
import { SqlStores } from "./sql-stores.ts"

/** One MariaDB for a test file. */
export class MariadbStores extends SqlStores<MysqlAddress, Mariadb> {
  constructor(...settings: readonly string[]) {
    super({
      program: "mariadb",
      start: () => Mariadb.start(...settings),
      open: (address) => openMysql({ address }),
    })
  }
}
