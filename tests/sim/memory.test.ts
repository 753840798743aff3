/** The datastores in memory keep the contract that the real ones keep; only then does the simulator prove anything. */
import { openSqlStore } from "../../src/store/sql-store.ts"
import { NOT_ON_ETCD } from "../contract/not-on-etcd.ts"
import { storeContract } from "../contract/store.contract.ts"
import { askAtOnce } from "./ask.ts"
import { EtcdHistory } from "./etcd-history.ts"
import { openEtcdStore } from "./etcd-store.ts"
import { MemoryEngine } from "./sql-engine.ts"
import { SqlTable } from "./sql-table.ts"

storeContract("SQL in memory", async () => {
  const store = await openSqlStore(new MemoryEngine(new SqlTable(), askAtOnce), {})
  return { store, cleanup: () => store.close() }
})

storeContract(
  "etcd in memory",
  async () => {
    const store = await openEtcdStore(new EtcdHistory(), askAtOnce)
    return { store, cleanup: () => store.close() }
  },
  { skip: NOT_ON_ETCD },
)
