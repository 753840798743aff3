import { readdirSync, readFileSync } from "node:fs"
import { expect, test } from "vitest"
import { sharedPath } from "../../tests/shared.ts"
import { goQuote } from "./text/go-text.ts"
import * as status from "./status.ts"

/** Every distinct Status in the recorded transcripts, as text, by the file that first shows it. */
function recordedFailures(): Map<string, string> {
  const found = new Map<string, string>()
  for (const file of readdirSync(sharedPath("transcripts")).filter((name) =>
    name.endsWith(".json"),
  )) {
    const { http } = JSON.parse(readFileSync(sharedPath("transcripts", file), "utf8"))
    for (const { respBody } of http) {
      const body = typeof respBody === "string" ? respBody.trim() : ""
      if (body.startsWith('{"kind":"Status"') && !found.has(body)) found.set(body, file)
    }
  }
  return found
}

const secrets = (name?: string) => ({ resource: "secrets", name })
const undecryptable = "no matching key was found for the provided AES transformer"

// biome-ignore format: a table
const CASES: [string, status.StatusError][] = [
  ["039", status.notFound(secrets("nope"))],
  ["056", status.badRequest("field label not supported: data.x")],
  ["083", status.genericFailure(422)],
  ["092", status.conflict(secrets("lit"))],
  ["120", status.invalid({ kind: "Secret", name: "imm" }, [status.fieldError("Forbidden", { field: "data", detail: "field is immutable when `immutable` is set" })])],
  ["123", status.invalid({ kind: "Secret", name: "lit" }, [status.fieldError("Invalid", { field: "type", value: "example.com/other", detail: "field is immutable" })])],
  ["138", status.tooLarge("limit is 3145728")],
  ["140", status.invalid({ kind: "Secret", name: "kk" }, [status.fieldError("Required", { field: "data[.dockercfg]" })])],
  ["146", status.invalid({ kind: "Secret", name: "kk" }, [status.fieldError("TooLong", { field: "metadata.annotations", detail: "may not be more than 262144 bytes" })])],
  ["147", status.invalid({ kind: "Secret", name: "kk" }, [
    status.fieldError("Invalid", { field: "metadata.ownerReferences.apiVersion", value: "", detail: "version must not be empty" }),
    status.fieldError("Invalid", { field: "metadata.ownerReferences.name", value: "", detail: "must not be empty" }),
    status.fieldError("Invalid", { field: "metadata.ownerReferences.uid", value: "", detail: "must not be empty" }),
  ])],
  ["158", status.unsupportedMediaType(["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"])],
  ["162", status.alreadyExists(secrets("gn0"))],
  ["173", status.invalid({ group: "meta.k8s.io", kind: "CreateOptions" }, [status.fieldError("NotSupported", { field: "fieldValidation", value: "Nope", supported: ["", "Ignore", "Strict", "Warn"] })])],
  ["174", status.invalid({ group: "meta.k8s.io", kind: "CreateOptions" }, [status.fieldError("NotSupported", { field: "dryRun", value: ["Nope"], supported: ["All"] })])],
  ["195", status.resourceVersionTooLarge({ wanted: "99999999", current: "265" })],
  ["243", status.invalid({ kind: "Secret", name: "fin" }, Array(2).fill(status.fieldError("Forbidden", { field: "metadata.finalizers", detail: 'no new finalizers can be added if the object is being deleted, found new finalizers []string{"example.com/g"}' })))],
  ["251", status.unauthorized()],
  ["252", status.forbidden(secrets(), 'User "limited" cannot list resource "secrets" in API group "" in the namespace "tr"')],
  ["261", status.genericFailure(404)],
  ["264", status.methodNotAllowed()],
  ["287", status.expired("The resourceVersion for the provided list is too old.")],
  ["300", status.tooManyRequests(`storage is (re)initializing: failed to list *core.Secret: unable to transform key "/registry/secrets/tr2/s0": ${undecryptable}`, 4)],
  ["302", status.internalError(undecryptable)],
]

test.each(CASES)("the body of transcript %s", (file, error) => {
  expect(recordedFailures().get(JSON.stringify(error.toStatus()))?.slice(0, 3)).toBe(file)
})

test("an expired list carries the token to go on with", () => {
  const body = status.expired("too old", { continueToken: "abc" }).toStatus()
  expect(body.metadata).toEqual({ continue: "abc" })
})

test("%q escapes as Go does", () => {
  expect(goQuote('a"\\\n\x00\x7f\u00a0é漢😀\u{e0001}')).toBe(
    '"a\\"\\\\\\n\\x00\\x7f\\u00a0é漢😀\\U000e0001"',
  )
})
