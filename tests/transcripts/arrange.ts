/** What recordings that are missing did, where it cannot be read from the answers that follow, and what was done to the recorded
 *  server from outside: a key added, a key lost, history compacted. By the recording that comes next. */

import type { Keyring } from "../../src/keyring/keyring.ts"
import type { Served } from "../harness/served.ts"
import type { Sent } from "../harness/https.ts"
import type { World } from "./world.ts"

export interface Stage {
  readonly served: Served
  readonly world: World
  /** As the administrator. Throws where the answer is no success. */
  send(sent: Sent): Promise<void>
}

const TR = "/api/v1/namespaces/tr/secrets"
const JSON_TYPE = { "content-type": "application/json" }
const APPLY = { "content-type": "application/apply-patch+yaml" }

export const ARRANGEMENTS: Readonly<Record<string, (stage: Stage) => Promise<void>>> = {
  "068-kubectl-ssa-same": ({ world }) => world.put(world.find("Secret tr/ssa1@224")),

  "071-kubectl-ssa-remove-owned": ({ send }) =>
    send({
      method: "PATCH",
      url: `${TR}/ssa1?fieldManager=other&force=true`,
      headers: APPLY,
      body: JSON.stringify({
        apiVersion: "v1",
        kind: "Secret",
        metadata: { labels: { v: "2" }, name: "ssa1", namespace: "tr" },
        data: { k: "djI=" },
        stringData: { s: "str2" },
      }),
    }),

  "176-http-list-limit-3": async ({ world, send }) => {
    await world.put(world.find("Secret tr/fv@261"))
    for (let made = 0; made < 3; made++)
      await send({
        method: "POST",
        url: TR,
        headers: JSON_TYPE,
        body: '{"metadata":{"generateName":"gn-"}}',
      })
  },

  // What only this server does not serve keeps the recorded namespace, which no controller ever ended, from going.
  "279-kubectl-delete-ns": async ({ served }) => {
    const key = "/registry/configmaps/tr/kube-root-ca.crt"
    await served.store.create({ key, fence: undefined, value: Buffer.from("k8s\0") })
  },

  "282-kubectl-get-selector-set": async ({ served, send, world }) => {
    served.clock.now = new Date("2026-11-23T21:03:34Z")
    const body = JSON.stringify({ metadata: { name: "tr2" } })
    await send({ method: "POST", url: "/api/v1/namespaces", headers: JSON_TYPE, body })
    await world.put(world.sent("293-http-put-unchanged-under-key2-key1-rewritten"))
    for (const [name, app] of Object.entries({
      s0: "db",
      s2: "db",
      s3: "web",
      s4: "db",
      s5: "web",
    })) {
      const labels = { app, tier: name.replace("s", "t") }
      const secret = JSON.stringify({ metadata: { name, labels }, data: { a: "YQ==" } })
      await send({ method: "POST", url: TR.replace("tr", "tr2"), headers: JSON_TYPE, body: secret })
    }
  },

  "287-http-410-list-exact-compacted-restart": async ({ served, send }) => {
    const url = "/api/v1/namespaces/default/secrets"
    const body = JSON.stringify({ metadata: { name: "after" } })
    await send({ method: "POST", url, headers: JSON_TYPE, body })
    await served.store.compact(await served.store.revision())
  },

  "293-http-put-unchanged-under-key2-key1-rewritten": async ({ served, send }) => {
    const body = JSON.stringify({ stage: "rotate_keys", force: true })
    await send({ method: "PUT", url: "/v1-keyturn/encrypt/config", headers: JSON_TYPE, body })
    if (served.keys.view.record.keyring.keys.length !== 2) throw new Error("the key did not turn")
  },

  "299-http-undecryptable-get-other-ok": async ({ served }) => {
    const lost = ({ keys, ...rest }: Keyring): Keyring => ({ ...rest, keys: keys.slice(1) })
    await served.keys.change("enable", ({ record }) => ({ keyring: lost(record.keyring) }))
  },
}

const padded = (length: number, json: (filler: string) => string): string =>
  json("A".repeat(length - json("").length))

/** Bodies that were too long to be kept, made again to their recorded length. */
export const OMITTED_BODIES: Readonly<Record<string, (length: number) => string>> = {
  "137-http-data-exactly-1mib": (length) =>
    padded(length, (data) => {
      const filled = data.length < 4 ? data : `${data.slice(0, -2)}==`
      return `{"apiVersion":"v1","kind":"Secret","metadata":{"name":"big2"},"data":{"d":"${filled}"}}`
    }),
  "138-http-request-too-large": (length) =>
    padded(
      length,
      (data) =>
        `{"apiVersion":"v1","kind":"Secret","metadata":{"name":"big3"},"data":{"d":"${data}"}}`,
    ),
  "146-http-annotations-too-big": (length) =>
    padded(
      length,
      (text) =>
        `{"apiVersion":"v1","kind":"Secret","metadata":{"name":"kk","annotations":{"a":"${text}"}}}`,
    ),
}

/** Headers that the recording left out. */
export const HEADERS: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  "260-http-impersonate": { "impersonate-user": "someone" },
}
