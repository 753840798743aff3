/** `kill -9` at random moments of rotations, with writers at work: nothing acknowledged is lost, the next start goes on by itself,
 *  and in the end no stored byte is under an old key. */
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { expect, test } from "vitest"
import { apiClient } from "../harness/api.ts"
import { until } from "../harness/process.ts"
import { random } from "../harness/random.ts"
import { keyturn, startServer, type TestServer } from "../harness/server.ts"

const SECRETS = 400
const WRITERS = 4
/** `npm run test:soak` runs many. */
const ROUNDS = Number(process.env.KEYTURN_TEST_ROUNDS ?? 6)
const ROUND_MS_MAX = 15_000
const PATH = "/api/v1/namespaces/default/secrets"

const secret = (name: string, value: string) => ({
  kind: "Secret",
  apiVersion: "v1",
  metadata: { name },
  data: { value: Buffer.from(value.padEnd(1024, ".")).toString("base64") },
})

/** Of a list; anything else is shown. */
function items(body: string) {
  const list = JSON.parse(body)
  expect(list, body.slice(0, 1000)).toHaveProperty("items")
  return list.items
}

const ABSENT = ""

/** What each name holds, as acknowledged; `unsure` where a write was cut off, which may or may not have happened. */
class Ledger {
  readonly #values = new Map<string, Set<string>>()

  unsure(name: string, value: string): void {
    this.#values.set(name, new Set([...(this.#values.get(name) ?? [ABSENT]), value]))
  }
  acknowledged(name: string, value: string): void {
    this.#values.set(name, new Set([value]))
  }
  check(items: readonly { metadata: { name: string }; data: { value: string } }[]): void {
    const stored = new Map(items.map(({ metadata, data }) => [metadata.name, data.value]))
    for (const [name, possible] of this.#values) {
      const value = Buffer.from(stored.get(name) ?? ABSENT, "base64")
        .toString()
        .replace(/\.+$/, "")
      expect(possible, name).toContain(value)
    }
  }
}

async function writeUntilCut(server: TestServer, ledger: Ledger, writer: number, round: number) {
  using client = apiClient(server.kubeconfig, { maxSockets: 1 })
  for (let i = 0; ; i++) {
    const name = `w${writer}-${i % 20}`
    const value = `${round}-${i}`
    ledger.unsure(name, value)
    try {
      const { status, body } = await client.call("PUT", `${PATH}/${name}`, secret(name, value))
      const answer =
        status === 404 ? await client.call("POST", PATH, secret(name, value)) : { status, body }
      if (answer.status >= 300) throw new Error(`${answer.status}: ${answer.body}`)
      ledger.acknowledged(name, value)
    } catch (error) {
      if (error instanceof Error && "code" in error) return
      throw error
    }
  }
}

test("kill -9 at any moment of a rotation", { timeout: ROUNDS * ROUND_MS_MAX }, async () => {
  // https://github.com/k3s-io/k3s/issues/13763 (docs/pains.md 2)
  const seed = Number(process.env.KEYTURN_TEST_SEED ?? 20261123)
  const next = random(seed)
  await using server = await startServer({ args: ["--secrets-encryption"] })
  const ledger = new Ledger()
  {
    using client = apiClient(server.kubeconfig)
    const names = Array.from({ length: SECRETS }, (_, i) => `s${i}`)
    await Promise.all(names.map((name) => client.call("POST", PATH, secret(name, name))))
    for (const name of names) ledger.acknowledged(name, name)
  }
  for (let round = 0; round < ROUNDS; round++) {
    const writers = Array.from({ length: WRITERS }, (_, w) =>
      writeUntilCut(server, ledger, w, round),
    )
    await keyturn(server, ["secrets-encrypt", "rotate-keys", "--no-wait"])
    await new Promise((resolve) => setTimeout(resolve, next() * 120))
    await server.kill9()
    await Promise.all(writers)
    await server.start()
    using client = apiClient(server.kubeconfig)
    ledger.check(items((await client.call("GET", PATH)).body))
  }
  const finished = async () =>
    (await keyturn(server, ["secrets-encrypt", "status"])).stdout.includes("reencrypt_finished")
  await until(finished, { timeoutMs: 20_000 })
  using client = apiClient(server.kubeconfig)
  ledger.check(items((await client.call("GET", PATH)).body))
  await server.stop()
  expect(keysInUse(server.dataDir), `seed ${seed}`).toEqual(
    configuredKeys(server.dataDir).slice(0, 1),
  )
})

/** The names of the keys under which anything is stored: live, history and old values. */
function keysInUse(dataDir: string): string[] {
  const db = new DatabaseSync(join(dataDir, "server", "db", "state.db"), { readOnly: true })
  const rows = db
    .prepare("SELECT value, old_value FROM kine WHERE name LIKE '/registry/secrets/%'")
    .all()
  db.close()
  const names = new Set<string>()
  for (const { value, old_value } of rows)
    for (const stored of [value, old_value]) {
      const text = stored instanceof Uint8Array ? Buffer.from(stored).toString("latin1") : ""
      if (text === "") continue
      names.add(
        /^k8s:enc:aescbc:v1:(aescbckey(?:-[-0-9T:]+(?:Z|[+-]\d\d:\d\d))?):/.exec(text)?.[1] ??
          "plaintext",
      )
    }
  return [...names]
}

function configuredKeys(dataDir: string): string[] {
  const path = join(dataDir, "server", "cred", "encryption-config.json")
  const { resources } = JSON.parse(readFileSync(path, "utf8"))
  return resources[0].providers[0].aescbc.keys.map(({ name }: { name: string }) => name)
}
