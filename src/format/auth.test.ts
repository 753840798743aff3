import { readFileSync } from "node:fs"
import { expect, test } from "vitest"
import { sharedPath } from "../../tests/shared.ts"
import { decodeObject, encodeObject } from "./codec.ts"

const recorded = ["254-kubectl-auth-can-i.json", "255-kubectl-auth-whoami.json"].flatMap((file) => {
  const { http } = JSON.parse(readFileSync(sharedPath("transcripts", file), "utf8"))
  return http
    .filter(({ method }: { method: string }) => method === "POST")
    .flatMap(({ reqBody, respBody }: Record<string, { base64: string }>) => [
      { file, side: "request", base64: reqBody?.base64 },
      { file, side: "answer", base64: respBody?.base64 },
    ])
})

test.each(recorded)("the $side of $file is read and written byte for byte", ({ base64 }) => {
  const bytes = Buffer.from(base64, "base64")
  expect(encodeObject(decodeObject(bytes)).toString("base64")).toBe(base64)
})

test("what was asked and answered is there", () => {
  expect(recorded.map(({ base64 }) => decodeObject(Buffer.from(base64, "base64")))).toMatchObject([
    { spec: { resourceAttributes: { namespace: "tr", verb: "get", resource: "secrets" } } },
    { status: { allowed: false } },
    { kind: "SelfSubjectReview", status: { userInfo: {} } },
    { status: { userInfo: { username: "limited", uid: "limited-uid" } } },
  ])
})
