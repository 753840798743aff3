import { expect, test } from "vitest"
import { readRequest, route } from "./request.ts"
import { StatusError } from "../status.ts"

/** `verb namespace/name/subresource resource`, or the code of the refusal. */
function seen(line: string): string | number {
  const [method = "", url = ""] = line.split(" ")
  try {
    const info = readRequest(method, url)
    if (info.target === undefined) return `${info.verb} -`
    const { namespace = "", name = "", subresource = "" } = info.target
    return `${info.verb} ${namespace}/${name}/${subresource} ${route(info, info.target).plural}`
  } catch (error) {
    if (error instanceof StatusError) return error.code
    throw error
  }
}

// biome-ignore format: a table
const REQUESTS: readonly (readonly [request: string, what: string | number])[] = [
  ["GET /api/v1/secrets",                              "list // secrets"],
  ["GET /api/v1/secrets?watch=1",                      "watch // secrets"],
  ["GET /api/v1/secrets?watch=false",                  "list // secrets"],
  ["GET /api/v1/watch/secrets",                        "watch // secrets"],
  ["GET /api/v1/namespaces/a/secrets",                 "list a// secrets"],
  ["GET /api/v1/namespaces/a/secrets/",                "list a// secrets"],
  ["GET /api/v1/watch/namespaces/a/secrets/b",         "watch a/b/ secrets"],
  ["POST /api/v1/namespaces/a/secrets",                "create a// secrets"],
  ["DELETE /api/v1/namespaces/a/secrets",              "deletecollection a// secrets"],
  ["GET /api/v1/namespaces/a/secrets/b?watch=1",       "get a/b/ secrets"],
  ["PUT /api/v1/namespaces/a/secrets/b",               "update a/b/ secrets"],
  ["PATCH /api/v1/namespaces/a/secrets/b",             "patch a/b/ secrets"],
  ["DELETE /api/v1/namespaces/a/secrets/b",            "delete a/b/ secrets"],
  ["GET /api/v1/namespaces/a/secrets/b%2Ec",           "get a/b.c/ secrets"],
  ["GET /api/v1/namespaces/a",                         "get /a/ namespaces"],
  ["GET /api/v1/namespaces/a/status",                  "get /a/status namespaces"],
  ["PUT /api/v1/namespaces/a/finalize",                "update /a/finalize namespaces"],
  ["GET /api/v1/nodes/n/status",                       "get /n/status nodes"],
  ["POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews", "create // selfsubjectaccessreviews"],
  ["GET /version",                                     "get -"],
  ["GET /api/v1",                                      "get -"],
  ["GET /apis/authorization.k8s.io/v1",                "get -"],
  ["GET /api/v1/nothing",                              404],
  ["GET /api/v2/secrets",                              404],
  ["GET /api/v1/secrets/b",                            404],
  ["GET /api/v1/namespaces/a/nodes",                   404],
  ["GET /api/v1/namespaces/a/secrets/b/status",        404],
  ["GET /api/v1/namespaces/a/secrets/b/status/c",      404],
  ["GET /apis/authentication.k8s.io/v1/secrets",       404],
  ["HEAD /api/v1/secrets",                             405],
  ["POST /api/v1/secrets",                             405],
  ["DELETE /api/v1/secrets",                           405],
  ["DELETE /api/v1/namespaces",                        405],
  ["POST /api/v1/namespaces/a/secrets/b",              405],
  ["PATCH /api/v1/namespaces/a/secrets",               405],
  ["GET /api/v1/namespaces/a/finalize",                405],
  ["GET /apis/authorization.k8s.io/v1/selfsubjectaccessreviews", 405],
  ["GET /api/v1/namespaces/a/secrets/b%2Fc",           400],
  ["GET /api/v1/namespaces/a/secrets/..",              400],
  ["GET /api/v1/namespaces/../secrets/b",              400],
  ["GET /api/v1/namespaces/a/secrets/b%25",            400],
  ["GET /api/v1/namespaces/a/secrets/%zz",             400],
]

test.each(REQUESTS)("%s", (request, what) => {
  expect(seen(request)).toBe(what)
})
