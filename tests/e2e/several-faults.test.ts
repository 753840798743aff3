/** Three servers, writers and readers on all of them throughout a rotation, and one fault at a random moment of it. After each:
 *  what was acknowledged is there on every server, what was refused is nowhere, and no stored byte is under an old key. */
import { setTimeout as sleep } from "node:timers/promises"
import { describe, expect, test } from "vitest"
import { dataDirPaths } from "../../src/cluster/data-dir.ts"
import type { Operation } from "../../src/rotation/operation.ts"
import { apiClient } from "../harness/api.ts"
import { type Cluster, type ClusterOptions, startCluster } from "../harness/cluster.ts"
import { Way } from "../harness/cut.ts"
import { deal, isEmbedded } from "../harness/dealt.ts"
import { etcdPid } from "../harness/embedded.ts"
import { type Datastore, etcdDatastore, through } from "../harness/engines.ts"
import { Etcd } from "../harness/etcd.ts"
import { expectFilled, fill } from "../harness/filling.ts"
import { Following } from "../harness/following.ts"
import { faketime, needs } from "../harness/programs.ts"
import { until } from "../harness/process.ts"
import { expectNoBug, expectQuiet } from "../harness/quiet.ts"
import { random } from "../harness/random.ts"
import { ENABLED, expectStatus, keyName, keysIn, MATCH, stage } from "../harness/secrets-encrypt.ts"
import { kubectlSaid, type TestServer } from "../harness/server.ts"
import { openStored } from "../harness/stored.ts"
import { Traffic } from "../harness/traffic.ts"

/** `npm run test:soak` runs many. */
const ROUNDS = Number(process.env.KEYTURN_TEST_ROUNDS ?? 1)
const IS_SOAK = ROUNDS > 1
const ROUND_MS_MAX = 120_000
/** On one cluster: what writers leave behind grows with each, and a rotation has all of it to go through. */
const ROUNDS_EACH_MAX = 3
const SECRETS = 600
const WORKERS = 9
/** As long as the rotation of so many takes where little else runs: a fault comes in the middle of one as well as at its end. */
const ROTATION_MS = 700
/** So long a rewrite may be seen not to go on: as long as a status is waited for. */
const STANDS_MS_MAX = 15_000
const STANDSTILL_MS = IS_SOAK ? 30_000 : 12_000
/** Others' writes and watches may pause for 3 s. Twice that is asked for, as the machine may be busy with other things; what must
 *  not happen, a lock held for as long as its server stands still, takes longer than that by far. */
const PAUSE_MS_MAX = 6_000

const dealt = deal()
const { seed } = dealt

type Random = () => number

/** What a fault acts on. */
interface Scene {
  readonly cluster: Cluster
  readonly traffic: Traffic
  /** The server that takes the verb, and so does the work, and another one. */
  readonly worker: TestServer
  readonly other: TestServer
  readonly next: Random
}

/** Ends when nothing disturbs the cluster any more. Returns the key that writes then, where it is another. */
type Fault = (scene: Scene) => Promise<string | void>

interface Arrangement extends ClusterOptions {
  /** Whose requests may be refused or left open because of the fault, besides those of a server that is ended or stopped. */
  readonly disturbs?: (server: TestServer, cluster: Cluster) => boolean
}

type Start = (options: ClusterOptions) => Promise<Cluster>

/** One rotation after the other, with the fault in each. */
async function rotateThrough(start: Start, fault: Fault, arrangement: Arrangement = {}) {
  const seeds = Array.from({ length: ROUNDS }, (_, round) => seed + round)
  while (seeds.length > 0)
    await rotateOn(start, fault, arrangement, seeds.splice(0, ROUNDS_EACH_MAX))
}

async function rotateOn(
  start: Start,
  fault: Fault,
  { disturbs = () => false, ...options }: Arrangement,
  seeds: readonly number[],
) {
  await using cluster = await start({ args: ["--secrets-encryption"], ...options })
  const { datastore } = cluster
  await fill(cluster, SECRETS)
  await using traffic = new Traffic(cluster, {
    workers: WORKERS,
    isDisturbed: (server) => disturbs(server, cluster),
  })
  const followed = cluster.server(3)
  const mayListAnew = disturbs(followed, cluster)
  await using following = new Following(followed, { mayListAnew })
  let key = ""
  for (const one of seeds) {
    const next = random(one)
    const scene = { cluster, traffic, worker: cluster.server(1), other: cluster.server(2), next }
    traffic.slowestMs = 0
    following.measure()
    key = await beginRotation(scene.worker)
    await sleep(next() * ROTATION_MS)
    const struck = await progress(datastore)
    key = (await fault(scene)) ?? key
    await expectWhole(scene, key)
    await following.expectAll()
    console.info(
      `seed ${one}, ${struck}: ${traffic.writes} writes, ${traffic.reads} reads, ${traffic.refused} refused, ` +
        `${traffic.open} unknown; slowest ${Math.round(traffic.slowestMs)} ms, ` +
        `watch ${Math.round(following.slowestMs)} ms`,
    )
    expect(traffic.slowestMs).toBeLessThan(PAUSE_MS_MAX)
    if (!mayListAnew) expect(following.slowestMs).toBeLessThan(PAUSE_MS_MAX)
  }
  await traffic.end()
  await following.expectAll()
  await expectStoredUnder(datastore, key)
  for (const server of cluster.servers) {
    if (disturbs(server, cluster) || cluster.endsOf(server) > 0) expectNoBug(server)
    else expectQuiet(server)
  }
}

/** Returns the key that writes from then on. */
async function beginRotation(server: TestServer): Promise<string> {
  using api = apiClient(server.kubeconfig)
  const begun = await api.call("PUT", "/v1-keyturn/encrypt/config", { stage: "rotate_keys" })
  expect(begun.status, begun.body).toBe(200)
  const { body } = await api.call("GET", "/v1-keyturn/encrypt/status")
  return keyName(JSON.parse(body).activekey)
}

async function progress(datastore: Datastore): Promise<string> {
  const { state, pass, looked, rows } = (await datastore.operation()) ?? {}
  return `struck while ${state} in pass ${pass} at ${looked} of ${rows}`
}

/** Beside requests a rewrite takes about a thousand rows a second (rotation/pace.ts), and each round has more rows than the one before:
 *  its end is waited for as long as it goes on. */
async function untilEnded(datastore: Datastore): Promise<void> {
  let seen: Operation | undefined
  const wentOn = async () => {
    const now = await datastore.operation().catch(() => undefined)
    const stands =
      now?.state === seen?.state && now?.pass === seen?.pass && now?.looked === seen?.looked
    return stands ? undefined : now
  }
  const patience = { timeoutMs: STANDS_MS_MAX, intervalMs: 100, what: "the rewrite goes on" }
  do seen = await until(wentOn, patience)
  while (seen.state === "running")
}

/** By itself: the rotation is at its end on every server, and all holds that is promised of it. */
async function expectWhole({ cluster, traffic }: Scene, key: string): Promise<void> {
  await untilEnded(cluster.datastore)
  const parts = [ENABLED, stage("reencrypt_finished"), MATCH]
  const shown = await Promise.all(cluster.servers.map((server) => expectStatus(server, ...parts)))
  for (const status of shown) expect(keysIn(status).map(keyName)).toEqual([key])
  await traffic.check()
  for (const server of cluster.servers) await expectFilled(server, SECRETS)
  const stored = await cluster.datastore.secrets()
  const config = dataDirPaths(cluster.server(1).dataDir).encryptionConfig
  for (const { key: path, bytes } of stored)
    openStored(bytes, { config, name: path.slice(path.lastIndexOf("/") + 1) })
  await expectStoredUnder(cluster.datastore, key)
}

async function expectStoredUnder(datastore: Datastore, key: string): Promise<void> {
  expect(Object.keys(await datastore.censusOfSecrets())).toEqual([`aescbc:v1:${key}`])
}

/** Dead for a moment, or until others have seen that it has gone. */
const kill =
  (of: "worker" | "other"): Fault =>
  async ({ cluster, next, [of]: struck }) => {
    await cluster.stop(struck, "SIGKILL")
    await sleep(next() < 0.5 ? next() * 1_000 : 12_000)
    await cluster.start(struck)
  }

/** With a write that waits in it. */
const standStill: Fault = async (scene) => {
  await whilePaused(scene.next() < 0.5 ? scene.worker : scene.other, scene, () =>
    sleep(STANDSTILL_MS),
  )
}

/** The server goes on whatever becomes of `run`: the workers of traffic wait in it. */
async function whilePaused<T>(
  server: TestServer,
  { cluster, traffic, next }: Scene,
  run: () => Promise<T>,
): Promise<T> {
  cluster.pause(server)
  const waiting = Array.from({ length: WORKERS }, (_, n) =>
    traffic.write(server, `waiting-${n}-${next()}`, "written at last"),
  )
  try {
    return await run()
  } finally {
    cluster.resume(server)
    await Promise.all(waiting)
  }
}

/** It wakes with the keys from before a whole rotation, and with writes that wait in it (I2). */
const oversleep: Fault = async (scene) => {
  const { cluster, worker, other } = scene
  await untilEnded(cluster.datastore)
  await expectStatus(other, stage("reencrypt_finished"), MATCH)
  return whilePaused(other, scene, async () => {
    const key = await beginRotation(worker)
    await untilEnded(cluster.datastore)
    return key
  })
}

describe(`on one engine of several, seed ${seed}`, () => {
  const timeout = ROUNDS * ROUND_MS_MAX
  /** An etcd that dies with its server may have led the others. */
  const ofDeath = isEmbedded ? { disturbs: () => true } : {}

  test.each<[string, Fault, Arrangement]>([
    ["kill -9 of the server that does the work", kill("worker"), ofDeath],
    ["kill -9 of another server", kill("other"), ofDeath],
    ["a server stands still, with a write waiting in it", standStill, {}],
    ["a server stands still through a whole rotation, with writes waiting in it", oversleep, {}],
  ])("%s", { timeout }, async (_, fault, arrangement) => {
    await rotateThrough(dealt.start, fault, arrangement)
  })

  test.skipIf(isEmbedded)(
    "the way between a server and the datastore is cut",
    {
      timeout,
    },
    async () => {
      await using way = await Way.to(dealt.engine().port)
      const datastore = await dealt.newDatastore()
      const behind = random(seed)() < 0.5 ? 1 : 2
      // Again and again: only a write that was under way when its answer was lost is unknown.
      const cut: Fault = async ({ next }) => {
        for (let times = 0; times < 8; times++) {
          const how = Math.floor(next() * 3)
          if (how === 0) way.cut()
          else way.lose(how === 1 ? "requests" : "answers")
          await sleep(next() * 1_000)
          way.mend()
          await sleep(next() * 300)
        }
      }
      const endpoint = through(datastore, dealt.engine(), way)
      await rotateThrough((options) => startCluster(datastore, options), cut, {
        envOf: (n) => (n === behind ? { KEYTURN_DATASTORE_ENDPOINT: endpoint } : {}),
        disturbs: (server, cluster) => server === cluster.server(behind),
      })
    },
  )

  test("kill -9 of the datastore", { timeout }, async () => {
    const crash: Fault = async ({ next }) => {
      await dealt.engine().stop()
      await sleep(next() * 4_000)
      await dealt.engine().start()
    }
    // Of an etcd that a server starts, the server starts another.
    const crashOfOwn: Fault = async ({ next, worker, other }) => {
      process.kill(etcdPid(next() < 0.5 ? worker : other), "SIGKILL")
    }
    await rotateThrough(dealt.start, isEmbedded ? crashOfOwn : crash, { disturbs: () => true })
  })

  test("clocks are 10 minutes off, one before and one after the others", {
    timeout,
  }, async ({ skip }) => {
    const library = faketime()
    skip(library === undefined, "libfaketime is not installed; run the tests with: npm test")
    const off = (minutes: string) => ({
      LD_PRELOAD: library ?? "",
      FAKETIME: minutes,
      FAKETIME_DONT_FAKE_MONOTONIC: "1",
    })
    const clocks: Readonly<Record<number, Readonly<Record<string, string>>>> = {
      1: off("+10m"),
      3: off("-10m"),
    }
    const longEnoughToBeTakenForGone: Fault = async ({ cluster }) => {
      await sleep(10_000)
      const nodes = await kubectlSaid(cluster.server(2), ["get", "nodes", "--no-headers"])
      expect(nodes.match(/ Ready /g)).toHaveLength(3)
      for (const server of cluster.servers) expect(server.logs()).not.toContain("nothing is heard")
    }
    await rotateThrough(dealt.start, longEnoughToBeTakenForGone, {
      envOf: (n) => clocks[n] ?? {},
    })
  })
})

describe("on etcd of three members", () => {
  needs("etcd")

  test("kill -9 of a member, the leader or another", {
    timeout: ROUNDS * ROUND_MS_MAX,
  }, async () => {
    await using stack = new AsyncDisposableStack()
    const members = (await Etcd.cluster()).map((member) => stack.use(member))
    const [first, ...others] = members
    if (first === undefined) throw new Error("no members")
    const killMember: Fault = async ({ next }) => {
      const leads = await Promise.all(members.map((member) => member.isLeader()))
      const struck = members[leads.indexOf(next() < 0.5)] ?? first
      await struck.stop("SIGKILL")
      await sleep(next() * 8_000)
      await struck.start()
    }
    const datastore = etcdDatastore([first, ...others])
    const start = (options: ClusterOptions) => startCluster(datastore, options)
    await rotateThrough(start, killMember, { disturbs: () => true })
  })
})
