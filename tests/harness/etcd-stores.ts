/** For a test file: one etcd, emptied before each test, and as many servers' stores on it as the test opens. */
import { afterAll, afterEach, beforeAll, beforeEach } from "vitest"
import { openEtcd } from "../../src/store/etcd.ts"
import type { Store } from "../../src/store/store.ts"
import { Etcd, type EtcdName } from "./etcd.ts"
import { missing, needs } from "./programs.ts"

export class EtcdStores {
  #server: Etcd | undefined
  #stores: Store[] = []

  /** To be called at the top of a test file. */
  constructor(binary: EtcdName = "etcd") {
    needs(binary)
    beforeAll(async () => {
      if ((await missing(binary)) === undefined) this.#server = await Etcd.start({ binary })
    })
    afterAll(() => this.#server?.[Symbol.asyncDispose]())
    beforeEach(() => this.#server?.deleteAll())
    afterEach(async () => {
      await Promise.all(this.#stores.splice(0).map((store) => store.close()))
    })
  }

  get server(): Etcd {
    if (this.#server === undefined) throw new Error("etcd does not run")
    return this.#server
  }

  /** One more server's store. `ports`: other ways to the same etcd. */
  async open({ ports = [this.server.port] }: { ports?: readonly number[] } = {}): Promise<Store> {
    const endpoints = ports.map((port) => `http://127.0.0.1:${port}`)
    const store = await openEtcd({ endpoints })
    this.#stores.push(store)
    return store
  }
}
