/** The engine that a test file is dealt, for the tests that need only one of them, and three servers on it. */
import { afterAll, beforeAll, beforeEach } from "vitest"
import { type Cluster, type ClusterOptions, startCluster } from "./cluster.ts"
import { startEmbedded } from "./embedded.ts"
import { type Copied, dealEngine, dealtSeed, type Engine } from "./engines.ts"
import { needs } from "./programs.ts"

/** With KEYTURN_TEST_ENGINE=embedded, which is never dealt, each server has an etcd of its own. Tests of a datastore beside the
 *  servers are skipped then. */
export const isEmbedded = process.env.KEYTURN_TEST_ENGINE === "embedded"

export interface Dealt {
  readonly seed: number
  /** Of a test that is skipped where {@link isEmbedded}. */
  engine(): Engine
  /** As {@link engine}. */
  newDatastore(): Promise<Copied>
  start(options?: ClusterOptions): Promise<Cluster>
}

/** At the top of a test file. */
export function deal(): Dealt {
  const seed = dealtSeed()
  let dealt: Engine | undefined
  if (isEmbedded) needs("etcd")
  else {
    beforeAll(async () => (dealt = await dealEngine(seed)))
    afterAll(() => dealt?.[Symbol.asyncDispose]())
    beforeEach(({ skip }) => skip(dealt === undefined, "the engine is not installed"))
  }
  const engine = () => {
    if (dealt === undefined) throw new Error("skipped where there is none")
    return dealt
  }
  const newDatastore = () => engine().newDatastore()
  const start = async (options?: ClusterOptions) =>
    isEmbedded
      ? startEmbedded({ args: [], ...options })
      : startCluster(await newDatastore(), options)
  return { seed, engine, newDatastore, start }
}
