// Replays what kube-apiserver was asked and answered: shared/transcripts, each PATCH upon the object as last answered.

import { readdirSync, readFileSync } from "node:fs"
import { expect, test } from "vitest"
import { sharedPath } from "../../../tests/shared.ts"
import { decodeObject } from "../../format/codec.ts"
import { Secret } from "../../format/core.ts"
import type { KubeObject } from "../../format/object.ts"
import { decodeTyped } from "../decode.ts"
import { applyDefaults } from "../defaults.ts"
import { managerOf, patchOptions } from "../options.ts"
import { StatusError } from "../status.ts"
import { type Decoded, PATCH_TYPES, patchObject } from "./patch.ts"

interface Exchange {
  method: string
  url: string
  reqHeaders: Record<string, string>
  reqBody: string | { base64: string }
  status: number
  respBody: string | { base64: string }
}

const read = (file: string): { http: Exchange[] } =>
  JSON.parse(readFileSync(sharedPath("transcripts", file), "utf8"))

function decodeSecret(value: unknown): Decoded {
  const { fields, problems } = decodeTyped(Secret, { value, duplicates: new Map() })
  const object = { kind: "Secret", apiVersion: "v1", ...fields } as unknown as KubeObject
  return { object: applyDefaults(object), problems }
}

function asObject(body: Exchange["respBody"] | Exchange["reqBody"]): KubeObject | undefined {
  if (typeof body !== "string") return decodeObject(Buffer.from(body.base64, "base64"))
  return body.startsWith('{"kind":"Secret"') ? JSON.parse(body) : undefined
}

/** Each PATCH of a Secret with the object that was stored before it. */
function* patches(): Generator<[string, Exchange, KubeObject | undefined]> {
  const stored = new Map<string, KubeObject>()
  for (const file of readdirSync(sharedPath("transcripts")).toSorted()) {
    if (!file.endsWith(".json")) continue
    for (const exchange of read(file).http) {
      const { pathname, searchParams } = new URL(exchange.url, "https://localhost")
      if (!pathname.includes("/secrets")) continue
      // An empty patch changes nothing: what it answers is what was stored.
      const live = exchange.reqBody === "{}" ? seenIn(exchange) : stored.get(pathname)
      if (file.startsWith("071")) yield ["071-after-070", exchange, live && unrecorded070(live)]
      else if (exchange.method === "PATCH") yield [file.replace(".json", ""), exchange, live]
      const isRead = exchange.method === "GET" || !searchParams.has("dryRun")
      const seen = isRead ? seenIn(exchange) : undefined
      if (seen?.kind !== "Secret") continue
      const path = pathname.endsWith("/secrets") ? `${pathname}/${seen.metadata.name}` : pathname
      stored.set(path, seen)
    }
  }
}

/** 070 was not recorded: the apply that 069 refused, with force. */
function unrecorded070(live: KubeObject): KubeObject | undefined {
  const [refused] = read("069-kubectl-ssa-other-manager-conflict.json").http.slice(-1)
  if (refused === undefined) return undefined
  return run({ ...refused, url: refused.url.replace("force=false", "force=true") }, live).object
}

function seenIn({ respBody, status }: Exchange): KubeObject | undefined {
  try {
    return status < 300 ? asObject(respBody) : undefined
  } catch {
    return undefined
  }
}

/** Refused by routing, the store's compare-and-swap, validation or decryption, not by the patch. */
const ELSEWHERE = new Set(["092", "102", "120", "123", "243", "266", "303"])

/** The time is the clock's; the recorded one is taken where the entry's time is that of the request. */
function run(exchange: Exchange, live: KubeObject | undefined) {
  const { pathname, searchParams } = new URL(exchange.url, "https://localhost")
  const [, , , , namespace = "", , name = ""] = pathname.split("/")
  const recorded = seenIn(exchange)?.metadata.managedFields?.map(({ time }) => time ?? "") ?? []
  const now = new Date(recorded.toSorted().at(-1) || "2026-11-23T20:59:59Z")
  const mediaType = exchange.reqHeaders["content-type"] ?? ""
  const options = patchOptions(searchParams, { isApply: mediaType.startsWith("application/apply") })
  return patchObject({
    mediaType,
    body: String(exchange.reqBody),
    live,
    target: { resource: "secrets", apiVersion: "v1", kind: "Secret", namespace, name },
    ...options,
    manager: managerOf(options, exchange.reqHeaders["user-agent"]),
    now,
    decode: decodeSecret,
  })
}

const cases = [...patches()]

test("the transcripts have patches of every type", () => {
  const types = new Set(cases.map(([, { reqHeaders }]) => reqHeaders["content-type"]))
  expect(PATCH_TYPES.filter((type) => !types.has(type))).toEqual([])
  expect(cases.length).toBeGreaterThan(30)
})

test.each(cases.filter(([file]) => !ELSEWHERE.has(file.slice(0, 3))))("%s", (_, exchange, live) => {
  let answer: unknown
  try {
    answer = run(exchange, live).object
  } catch (error) {
    if (!(error instanceof StatusError)) throw error
    answer = error.toStatus()
  }
  const expected = JSON.parse(String(exchange.respBody))
  expect(unstored(answer)).toBe(unstored(expected))
})

/** As text, so that order counts, without what the store gives. */
function unstored(object: unknown): string {
  const { metadata, ...rest } = object as KubeObject
  const { uid: _, resourceVersion: __, creationTimestamp: ___, ...more } = metadata
  return JSON.stringify({ ...rest, metadata: more }, null, 1)
}
