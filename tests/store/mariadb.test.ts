/** The contract on a real MariaDB. Several servers: mariadb-shared.test.ts; a failing one: mariadb-faults.test.ts. */
import { storeContract } from "../contract/store.contract.ts"
import { MariadbStores } from "../harness/mariadb-stores.ts"

const mariadb = new MariadbStores()

storeContract(
  "mariadb",
  async () => {
    mariadb.newDatabase()
    const store = await mariadb.open()
    return { store, cleanup: () => store.close() }
  },
  {
    modelRuns: 10,
    skip: [
      {
        test: "a list holds exactly the keys that begin with its prefix, in key order",
        because: "kine's column compares without case, so A/1 and a/1 cannot both be",
      },
    ],
  },
)
