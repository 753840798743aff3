/** The contract on the next etcd, and where it behaves otherwise. */
import { setTimeout as sleep } from "node:timers/promises"
import { expect, test } from "vitest"
import { NOT_ON_ETCD } from "../contract/not-on-etcd.ts"
import { storeContract } from "../contract/store.contract.ts"
import { create, watched } from "../contract/store-helpers.ts"
import { EtcdStores } from "../harness/etcd-stores.ts"

const etcd = new EtcdStores("etcd-3.5")

storeContract(
  "etcd 3.5",
  async () => {
    await etcd.server.deleteAll()
    const store = await etcd.open()
    return { store, cleanup: () => store.close() }
  },
  { modelRuns: 10, skip: NOT_ON_ETCD },
)

test("it ends by SIGTERM without waiting for watches, which go on when it is back", async () => {
  const store = await etcd.open()
  const after = await store.revision()
  const watching = watched(store, { after, count: 2 })
  const made = [await create(store, "a", "x")]
  // One from 3.5.30 on waits for 7 s for streams that nobody ends.
  const ended = etcd.server.stop("SIGTERM").then(() => "ended")
  expect(await Promise.race([ended, sleep(5_000, "waits")])).toBe("ended")
  await etcd.server.start()
  made.push(await create(store, "b", "x"))
  expect((await watching).map(({ revision }) => revision)).toEqual(made)
})
