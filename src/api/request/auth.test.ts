import { expect, test } from "vitest"
import { isKnown } from "../../errors.ts"
import {
  ADMIN_GROUP,
  ANONYMOUS,
  type ApiRequest,
  authorize,
  createAuthenticator,
  impersonated,
  parseTokenFile,
  type User,
} from "./auth.ts"
import { readRequest } from "./request.ts"
import { StatusError } from "../status.ts"

const tokens = parseTokenFile(
  "tokens.csv",
  '# people\na1,admin,1,"system:masters"\r\n\nb2, bob ,2\nc"3,nobody,3\n'.replace('c"3', "c3"),
)

const authenticate = createAuthenticator({ tokens, serverPassword: () => "päss:word" })

/** A request without a certificate. */
const requestWith = (authorization: string | undefined): ApiRequest =>
  ({ headers: { authorization }, socket: { getPeerCertificate: () => ({}) } }) as never

const codeOf = (run: () => unknown): number | string => {
  try {
    return (run() as User | undefined)?.name ?? "allowed"
  } catch (error) {
    if (error instanceof StatusError) return error.code
    if (isKnown(error)) return error.code
    throw error
  }
}

const basic = (credentials: string) => `Basic ${Buffer.from(credentials).toString("base64")}`

// biome-ignore format: a table
test.each([
  ["Bearer a1",                  "admin"],
  ["bearer b2",                  "bob"],
  ["Bearer b2x",                 401],
  [basic("server:päss:word"),    "server"],
  [basic("server:wrong"),        401],
  [basic("admin:päss:word"),     401],
  [basic("a1"),                  401],
  ["Bearer",                     ANONYMOUS.name],
  ["Negotiate abc",              ANONYMOUS.name],
  [undefined,                    ANONYMOUS.name],
])("%s is %s", (authorization, who) => {
  expect(codeOf(() => authenticate(requestWith(authorization)))).toBe(who)
})

test("a token's user has the file's groups, and that of all who are known", () => {
  expect(authenticate(requestWith("Bearer a1"))).toEqual({
    name: "admin",
    uid: "1",
    groups: [ADMIN_GROUP, "system:authenticated"],
  })
  expect(authenticate(requestWith("Bearer b2")).groups).toEqual(["system:authenticated"])
})

// biome-ignore format: a table
test.each([
  ["a,b",                   "expected token,user,uid"],
  [",b,c",                  "expected token,user,uid"],
  ['"a,b,c',                "expected token,user,uid"],
  ["a,b,c\na,d,e",          "line 2: this token stands in the file already"],
])("a token file %j is refused, and the message holds no token", (content, message) => {
  const failure = (() => {
    try {
      return parseTokenFile("tokens.csv", content.replaceAll("a,", "hunter2,"))
    } catch (error) {
      return error
    }
  })()
  expect(isKnown(failure, "ConfigInvalid") && failure.message).toContain(message)
  expect(String(failure)).not.toContain("hunter2")
})

const user = (name: string, ...groups: string[]): User => ({
  name,
  uid: "",
  groups: [...groups, "system:authenticated"],
})

// biome-ignore format: a table
const ALLOWED: readonly (readonly [request: string, anonymous: number | string, bob: number | string])[] = [
  ["GET /healthz",                                                "allowed", "allowed"],
  ["GET /readyz/ping",                                            "allowed", "allowed"],
  ["GET /version",                                                "allowed", "allowed"],
  ["GET /cacerts",                                                "allowed", "allowed"],
  ["POST /version",                                               401,       403],
  ["GET /healthzzz",                                              401,       403],
  ["GET /ping",                                                   401,       403],
  ["GET /api",                                                    401,       "allowed"],
  ["GET /openapi/v3/api/v1",                                      401,       "allowed"],
  ["GET /metrics",                                                401,       403],
  ["GET /api/v1/secrets",                                         401,       403],
  ["GET /api/v1/namespaces/a/secrets/b",                          401,       403],
  ["POST /api/v1/namespaces",                                     401,       403],
  ["POST /apis/authentication.k8s.io/v1/selfsubjectreviews",      401,       "allowed"],
  ["GET /apis/authentication.k8s.io/v1/selfsubjectreviews",       401,       403],
]

test.each(ALLOWED)(
  "%s: anonymous %s, somebody %s, the administrator may",
  (line, anonymous, somebody) => {
    const [method = "", url = ""] = line.split(" ")
    const info = readRequest(method, url)
    expect(codeOf(() => authorize(ANONYMOUS, info))).toBe(anonymous)
    expect(codeOf(() => authorize(user("bob"), info))).toBe(somebody)
    expect(codeOf(() => authorize(user("eve", ADMIN_GROUP), info))).toBe("allowed")
  },
)

test("only the administrator speaks for others", () => {
  const headers = { "impersonate-user": "carl", "impersonate-group": "g1, g2" }
  expect(impersonated(user("eve", ADMIN_GROUP), headers)).toEqual(user("carl", "g1", "g2"))
  expect(codeOf(() => impersonated(user("bob"), headers))).toBe(403)
  expect(codeOf(() => impersonated(user("eve", ADMIN_GROUP), { "impersonate-uid": "1" }))).toBe(400)
  expect(impersonated(user("bob"), {})).toEqual(user("bob"))
})
