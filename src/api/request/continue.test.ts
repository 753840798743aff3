import { expect, test } from "vitest"
import { failureOf, messageOf } from "../../../tests/outcome.ts"
import { textOf, transcript } from "../../../tests/transcripts.ts"
import { decodeContinue, encodeContinue, expiredContinue, INCONSISTENT } from "./continue.ts"

const PREFIX = "/registry/secrets/tr/"

test.each([
  ["177", "/registry/secrets/tr/", "/registry/secrets/tr/fv"],
  ["182", "/registry/secrets/tr/", "/registry/secrets/tr/app1"],
  ["185", "/registry/secrets/", "/registry/secrets/tr/app1"],
])("transcript %s: the token of a page, to the letter", (number, prefix, lastKey) => {
  const { metadata } = JSON.parse(textOf(transcript(number).http[0]?.respBody ?? ""))
  expect(encodeContinue({ prefix, lastKey, revision: 263 })).toBe(metadata.continue)
  expect(decodeContinue(prefix, metadata.continue)).toEqual({ after: lastKey, revision: 263 })
})

test("transcript 288: compacted, with a token to go on all the same", () => {
  const { url = "", respBody = "" } = transcript("288").http[0] ?? {}
  const token = new URL(url, "http://x").searchParams.get("continue") ?? ""
  const prefix = "/registry/secrets/tr2/"
  expect(
    failureOf(() => {
      throw expiredContinue(prefix, token)
    }),
  ).toBe(respBody)
  const { metadata } = JSON.parse(textOf(respBody))
  expect(decodeContinue(prefix, metadata.continue)).toEqual({
    after: "/registry/secrets/tr2/s1",
    revision: INCONSISTENT,
  })
})

const token = (of: object) => Buffer.from(JSON.stringify(of)).toString("base64url")
const v = "meta.k8s.io/v1"

// biome-ignore format: a table
test.each([
  ["***",                                       "illegal base64 data at input byte 0"],
  ["eyJ2I",                                     "illegal base64 data at input byte 4"],
  [Buffer.from("{").toString("base64url"),      "unexpected end of JSON input"],
  [token({ v: "v2", rv: 1, start: "a" }),       "server does not recognize this encoded version v2"],
  [token({ v, start: "a" }),                    "incorrect encoded start resourceVersion (version meta.k8s.io/v1)"],
  [token({ v, rv: 1 }),                         "encoded start key empty (version meta.k8s.io/v1)"],
  [token({ v, rv: 1, start: "../../x" }),       "../../x"],
  [token({ v, rv: 1, start: "/a/../../b\0" }),  "/a/../../b\0"],
])("%s is refused", (text, why) => {
  expect(messageOf(() => decodeContinue(PREFIX, text))).toBe(
    `invalid continue token: continue key is not valid: ${why}`,
  )
})
