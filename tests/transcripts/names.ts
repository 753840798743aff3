/** What differs by nature from one server to the next: uids, revisions, times, tokens. What the recording calls one thing and
 *  the server another is kept here, in pairs; two answers are compared after both were given the same names. */

import { type Json, type JsonObject, isObject } from "./recording.ts"

const UUID = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g
const AGE = /^(?:\d+[smhdy]){1,2}$/

export class Names {
  readonly #uids = new Map<string, string>()
  readonly #tokens = new Map<string, string>()
  /** Recorded revision to ours. */
  readonly #revisions = new Map<number, number>()

  /** The two are the same thing from now on. Throws where they are known as something else. */
  learn(recorded: JsonObject, ours: JsonObject): void {
    const [uid, ourUid] = [recorded.uid, ours.uid]
    if (typeof uid === "string" && typeof ourUid === "string") this.#pair(this.#uids, uid, ourUid)
    const [revision, ourRevision] = [recorded.resourceVersion, ours.resourceVersion]
    if (typeof uid !== "string" || typeof revision !== "string" || typeof ourRevision !== "string")
      return
    this.#pair(this.#revisions, Number(revision), Number(ourRevision))
  }

  /** The last token of ours whose recorded answer was not kept. */
  #lastToken: string | undefined

  /** A token of a recorded list, and of ours; undefined where the recorded answer was not kept. */
  learnToken(recorded: string | undefined, ours: string): void {
    if (recorded === undefined) this.#lastToken = ours
    else this.#tokens.set(recorded, ours)
  }

  /** A list's revision is at least its newest object's; two servers' need not keep the same distance. */
  learnList(recorded: string, ours: string): void {
    if (!this.#revisions.has(Number(recorded))) this.#revisions.set(Number(recorded), Number(ours))
  }

  knows(recordedRevision: Json | undefined): boolean {
    return this.#revisions.has(Number(recordedRevision))
  }

  uidOf(recorded: string): string | undefined {
    return this.#uids.get(recorded)
  }

  /** Ours for the newest known revision that is not above the recorded one. */
  revisionOf(recorded: number): number {
    const known = [...this.#revisions.keys()].filter((revision) => revision <= recorded)
    return this.#revisions.get(Math.max(...known)) ?? recorded
  }

  /** Text of a recorded request with our names in it. */
  ours(text: string): string {
    return text
      .replace(UUID, (uid) => this.#uids.get(uid) ?? uid)
      .replace(
        /("resourceVersion": ?"|resourceVersion","value":")(\d+)(")/g,
        (_, before, revision, after) =>
          // Small numbers are meant as they are: a revision that never was.
          Number(revision) < 100
            ? before + revision + after
            : before + this.revisionOf(Number(revision)) + after,
      )
  }

  url(url: string): string {
    return url
      .replace(/([?&]resourceVersion=)(\d+)/, (_, before, revision) => {
        const number = Number(revision)
        return before + (number < 100 || number > 1_000_000 ? revision : this.revisionOf(number))
      })
      .replace(/([?&]continue=)([\w-]+)/, (_, before, token) => before + this.#token(token))
  }

  #token(recorded: string): string {
    const known = this.#tokens.get(recorded)
    if (known !== undefined) return known
    const token = readToken(recorded)
    const last = this.#lastToken
    if (last !== undefined && readToken(last).start === token.start) return last
    const rv = token.rv > 0 ? this.revisionOf(token.rv) : token.rv
    return Buffer.from(JSON.stringify({ ...token, rv })).toString("base64url")
  }

  #pair<T extends string | number>(pairs: Map<T, T>, recorded: T, ours: T): void {
    const known = pairs.get(recorded)
    if (known !== undefined && known !== ours)
      throw new Error(`recorded ${recorded} is ${ours} here, and was ${known} before`)
    pairs.set(recorded, ours)
  }
}

const readToken = (token: string): { v: string; rv: number; start: string } =>
  JSON.parse(Buffer.from(token, "base64url").toString())

/** The same names for what differs by nature, whichever server it is from. Order is kept: it is compared too. */
export function anonymous(value: Json, path = ""): Json {
  if (typeof value === "string") return anonymousText(value, path)
  if (Array.isArray(value)) return value.map((item) => anonymous(item, `${path}[]`))
  if (!isObject(value)) return value
  return Object.fromEntries(
    Object.entries(value).map(([name, item]) => [
      name,
      anonymous(item, path === "" ? name : `${path}.${name}`),
    ]),
  )
}

function anonymousText(text: string, path: string): string {
  if (path.endsWith("resourceVersion") && /^\d+$/.test(text)) return "<revision>"
  if (path.endsWith("metadata.continue")) {
    const { v, start } = readToken(text)
    return `<continue ${v} ${start}>`
  }
  if (path.endsWith("serverAddress")) return "<address>"
  if (path.endsWith("cells[]") && AGE.test(text)) return "<age>"
  if (/^(?:apiVersion|kind)/.test(path)) return text
  return text
    .replace(UUID, "<uid>")
    .replace(/resourceVersion: "\d+"/g, 'resourceVersion: "<revision>"')
    .replace(/(\\"resourceVersion\\":\\")\d+/g, "$1<revision>")
    .replace(
      /(for the provided AES transformer): the value was written by .*$/,
      "$1: <the value, and the keys>",
    )
    .replace(/\?hash=[0-9A-F]{128}/g, "?hash=<hash>")
    .replace(/current: \d+$/, "current: <revision>")
    .replace(
      /(too old resource version: \d+) \(\d+\)$/,
      "too old resource version: <revision> (<revision>)",
    )
    .replace(/(ResourceVersion in record) \(\d+\)/, "$1 (<revision>)")
}
