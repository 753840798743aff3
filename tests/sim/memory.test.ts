/** The datastores in memory keep the contract that the real ones keep; only then does the simulator prove anything. */
import { openSqlStore } from "../../src/store/sql-store.ts"
import { NOT_ON_ETCD } from "../contract/not-on-etcd.ts"
import { storeContract } from "../contract/store.contract.ts"
import { type Ask, askAtOnce } from "./ask.ts"
import { EtcdHistory } from "./etcd-history.ts"
import { openEtcdStore } from "./etcd-store.ts"
import { MemoryEngine } from "./sql-engine.ts"
import { SqlTable } from "./sql-table.ts"

const TURNS = 20
/** A compaction to the newest revision that overtakes what its watch is to tell ends that watch; the contract compacts when it was told,
 *  as it mostly is on a real etcd. */
const compactingLast: Ask = async (what, steps) => {
  if (what.startsWith("compact to"))
    for (let left = TURNS; left > 0; left--) await new Promise(setImmediate)
  return askAtOnce(what, steps)
}

storeContract("SQL in memory", async () => {
  const store = await openSqlStore(new MemoryEngine(new SqlTable(), askAtOnce), {})
  return { store, cleanup: () => store.close() }
})

storeContract(
  "etcd in memory",
  async () => {
    const store = await openEtcdStore(new EtcdHistory(), compactingLast)
    return { store, cleanup: () => store.close() }
  },
  { skip: NOT_ON_ETCD },
)
