/** K3s' acceptance lists for three servers (reference section 9, B to E) in both modes of --encryption-reload, with every server
 *  reading and writing throughout, and the stored bytes looked at in the end.
 *
 *  `restart`: as K3s' lists have it, servers that did not take the verb show what they showed until they are restarted. `watch`: the
 *  same commands, and all servers show the same without a restart. */
import { readFileSync } from "node:fs"
import { describe, expect, test } from "vitest"
import { dataDirPaths } from "../../src/cluster/data-dir.ts"
import type { Cluster } from "../harness/cluster.ts"
import { deal, isEmbedded } from "../harness/dealt.ts"
import { until } from "../harness/process.ts"
import { expectQuiet } from "../harness/quiet.ts"
import {
  dated,
  DISABLED,
  ENABLED,
  expectStatus,
  keyName,
  keysIn,
  MATCH,
  MISMATCH,
  secretsEncrypt,
  stage,
} from "../harness/secrets-encrypt.ts"
import { Traffic } from "../harness/traffic.ts"

/** Each start of an embedded etcd takes its time. */
const LIST_MS = isEmbedded ? 480_000 : 240_000
const dealt = deal()

type Part = string | RegExp
type Mode = "restart" | "watch"

/** Every server, all at the same time. */
const expectEach = (cluster: Cluster, ...parts: readonly Part[]) =>
  Promise.all(cluster.servers.map((server) => expectStatus(server, ...parts)))

/** After a verb that s1 took. `others` is what s2 and s3 show until their restart. */
async function expectAfterVerb(
  { cluster, mode }: Setting,
  { s1, others }: { readonly s1: readonly Part[]; readonly others: readonly Part[] },
) {
  if (mode === "watch") return void (await expectEach(cluster, ...s1, MATCH))
  const [first, ...rest] = cluster.servers.map((server, n) =>
    expectStatus(server, ...(n === 0 ? s1 : others), MISMATCH),
  )
  await Promise.all([first, ...rest])
}

interface Setting {
  readonly cluster: Cluster
  readonly mode: Mode
}

/** Nothing is left under another key than the one that `status` shows as active; null: under any. */
async function expectStoredUnder(cluster: Cluster, under: string) {
  const census = () => cluster.datastore.censusOfSecrets()
  await until(async () => Object.keys(await census()).join() === under).catch(() => {})
  expect(Object.keys(await census())).toEqual([under])
}

async function finished({ cluster, traffic }: { cluster: Cluster; traffic: Traffic }) {
  await traffic.end()
  const { hasMembers: losesWrites } = cluster
  for (const server of cluster.servers) expectQuiet(server, { losesWrites })
}

const MODES: readonly Mode[] = ["restart", "watch"]

describe.each(MODES)("--encryption-reload=%s", (mode) => {
  const flags = ["--encryption-reload", mode]
  const encrypted = ["--secrets-encryption", ...flags]

  test("list B: rotate-keys, disable, enable", { timeout: LIST_MS }, async () => {
    await using cluster = await dealt.start({ args: encrypted })
    await using traffic = new Traffic(cluster)
    const s1 = cluster.server(1)
    await expectEach(cluster, ENABLED, stage("start"), MATCH)
    expect(await secretsEncrypt(s1, "rotate-keys")).toBe("keys rotated, reencryption finished\n")
    await expectAfterVerb(
      { cluster, mode },
      { s1: [ENABLED, stage("reencrypt_finished"), dated], others: [ENABLED, stage("start")] },
    )
    await cluster.restartEach()
    const [status] = await expectEach(cluster, ENABLED, stage("reencrypt_finished"), MATCH)
    const under = `aescbc:v1:${keyName(keysIn(status ?? "")[0])}`
    await expectStoredUnder(cluster, under)

    expect(await secretsEncrypt(s1, "disable")).toBe("secrets-encryption disabled\n")
    await expectAfterVerb(
      { cluster, mode },
      { s1: [DISABLED, stage("reencrypt_finished")], others: [ENABLED] },
    )
    await cluster.restartEach()
    await expectEach(cluster, DISABLED, MATCH)
    await expectStoredUnder(cluster, "plain")
    expect(await secretsEncrypt(s1, "enable")).toBe("secrets-encryption enabled\n")
    await expectAfterVerb(
      { cluster, mode },
      { s1: [ENABLED, stage("reencrypt_finished")], others: [DISABLED] },
    )
    await cluster.restartEach()
    await expectEach(cluster, ENABLED, MATCH)
    await expectStoredUnder(cluster, under)
    await finished({ cluster, traffic })
  })

  test("list C: prepare, rotate, reencrypt, disable, enable", { timeout: LIST_MS }, async () => {
    await using cluster = await dealt.start({ args: encrypted })
    await using traffic = new Traffic(cluster)
    const s1 = cluster.server(1)
    await expectEach(cluster, ENABLED, stage("start"), MATCH)
    const steps = [
      { verb: "prepare", says: "prepare completed successfully\n", leads: "prepare" },
      { verb: "rotate", says: "rotate completed successfully\n", leads: "rotate" },
      { verb: "reencrypt", says: "reencryption started\n", leads: "reencrypt_finished" },
    ]
    let before = "start"
    for (const { verb, says, leads } of steps) {
      expect(await secretsEncrypt(s1, verb)).toBe(says)
      await expectAfterVerb(
        { cluster, mode },
        { s1: [ENABLED, stage(leads)], others: [ENABLED, stage(before)] },
      )
      await cluster.restartEach()
      await expectEach(cluster, ENABLED, stage(leads), MATCH)
      before = leads
    }
    const under = `aescbc:v1:${keyName(keysIn(await secretsEncrypt(s1, "status"))[0])}`
    expect(under).toMatch(dated)
    await expectStoredUnder(cluster, under)

    for (const { verb, shows, showed, left } of [
      { verb: "disable", shows: DISABLED, showed: ENABLED, left: "plain" },
      { verb: "enable", shows: ENABLED, showed: DISABLED, left: under },
    ]) {
      await secretsEncrypt(s1, verb)
      expect(await secretsEncrypt(s1, "reencrypt", "-f", "--skip")).toBe("reencryption started\n")
      await expectAfterVerb(
        { cluster, mode },
        { s1: [shows, stage("reencrypt_finished")], others: [showed] },
      )
      await cluster.restartEach()
      await expectEach(cluster, shows, stage("reencrypt_finished"), MATCH)
      await expectStoredUnder(cluster, left)
    }
    await finished({ cluster, traffic })
  })

  test.each([
    { provider: "aescbc", type: "AES-CBC", methods: ["classic", "rotate-keys"] },
    { provider: "secretbox", type: "XSalsa20-POLY1305", methods: ["rotate-keys"] },
  ])(
    "list D with $provider: $methods, and the files of every server",
    { timeout: LIST_MS },
    async ({ provider, type, methods }) => {
      const args = [...encrypted, "--secrets-encryption-provider", provider]
      await using cluster = await dealt.start({ args })
      await using traffic = new Traffic(cluster)
      const own = new RegExp(`${provider}key-\\d{4}-\\d\\d-\\d\\d`)
      const expectFiles = (state: string) =>
        until(
          () =>
            cluster.servers.every((server) => {
              const { encryptionConfig, encryptionState } = dataDirPaths(server.dataDir)
              return (
                own.test(readFileSync(encryptionConfig, "utf8")) &&
                readFileSync(encryptionState, "utf8").startsWith(`${state}-`)
              )
            }),
          { what: `every server's files show ${state}` },
        )
      const steps = methods.flatMap((method) =>
        method === "classic" ? CLASSIC : [{ verb: "rotate-keys", leads: "reencrypt_finished" }],
      )
      for (const [n, { verb, leads }] of steps.entries()) {
        // From another server each time.
        const server = cluster.server((n % cluster.servers.length) + 1)
        await secretsEncrypt(server, verb)
        await expectStatus(server, stage(leads))
        if (mode === "restart") await cluster.restartEach()
        await expectEach(cluster, ENABLED, MATCH, stage(leads), type)
        await expectFiles(leads)
      }
      const [under = "", ...more] = Object.keys(await cluster.datastore.censusOfSecrets())
      expect(more).toEqual([])
      expect(under.startsWith(`${provider}:v1:`), under).toBe(true)
      expect(under).toMatch(own)
      await finished({ cluster, traffic })
    },
  )

  test("list E: encryption turned on where there was none", { timeout: LIST_MS }, async () => {
    await using cluster = await dealt.start({ args: flags })
    await using traffic = new Traffic(cluster)
    const never = "Encryption Status: Disabled, no configuration file found"
    await expectEach(cluster, never)
    await until(async () => ((await cluster.datastore.censusOfSecrets())["plain"] ?? 0) > 10)

    const [s1, s2, s3] = [1, 2, 3].map((n) => cluster.server(n)) as [Server, Server, Server]
    expect(await secretsEncrypt(s2, "enable")).toBe("secrets-encryption enabled\n")
    // K3s: still Disabled here, until rotate-keys. In keyturn enable is the whole of it.
    await expectStoredUnder(cluster, "aescbc:v1:aescbckey")
    if (mode === "watch") await expectEach(cluster, ENABLED, stage("start"), MATCH)
    else {
      await expectStatus(s2, ENABLED, stage("start"), MATCH)
      await Promise.all([s1, s3].map((server) => expectStatus(server, never)))
      await cluster.restartEach(["--secrets-encryption"])
      await expectEach(cluster, ENABLED, stage("start"), MATCH)
    }
    expect(await secretsEncrypt(s3, "rotate-keys")).toBe("keys rotated, reencryption finished\n")
    if (mode === "restart") await cluster.restartEach(["--secrets-encryption"])
    const [status] = await expectEach(cluster, ENABLED, stage("reencrypt_finished"), MATCH)
    await expectStoredUnder(cluster, `aescbc:v1:${keyName(keysIn(status ?? "")[0])}`)
    await finished({ cluster, traffic })
  })
})

type Server = Cluster["servers"][number]

const CLASSIC = [
  { verb: "prepare", leads: "prepare" },
  { verb: "rotate", leads: "rotate" },
  { verb: "reencrypt", leads: "reencrypt_finished" },
]
