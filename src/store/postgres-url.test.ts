import { expect, test } from "vitest"
import { isKnown } from "../errors.ts"
import { parsePostgresUrl, tlsWays } from "./postgres-url.ts"

const standard = {
  host: "localhost",
  port: 5432,
  user: "postgres",
  password: "",
  database: "kubernetes",
  sslMode: undefined,
}

test.each([
  ["postgres://", {}],
  ["postgresql://db.example:6000/Keys", { host: "db.example", port: 6000, database: "keys" }],
  [
    "postgres://me:p%40ss%2Fw@[::1]/k",
    { user: "me", password: "p@ss/w", host: "::1", database: "k" },
  ],
  ["postgres:///k?host=/run/postgresql", { host: "/run/postgresql", database: "k" }],
  ["postgres://h?sslmode=verify-ca", { host: "h", sslMode: "verify-ca" }],
])("%s", (text, expected) => {
  expect(parsePostgresUrl(text, "--x")).toEqual({ ...standard, ...expected })
})

test.each([
  ["postgres://u:s3cr3t@h:port/d", /is not a URL/],
  ["postgres://u:s3cr3t@h/d?sslmode=s3cr3t", /an sslmode that is none of disable, prefer/],
  ["postgres://u:s3cr3t@h/d?options=x", /a parameter options/],
  ["postgres://u:s3cr3t%zz@h/d", /a % that is not followed/],
])("refused without the password: %s", (text, why) => {
  let seen: unknown
  try {
    parsePostgresUrl(text, "--x")
  } catch (error) {
    seen = error
  }
  expect(isKnown(seen, "UsageInvalid")).toBe(true)
  expect(String(seen)).toMatch(why)
  expect(String(seen)).not.toContain("s3cr3t")
})

test.each([
  ["postgres://h", [{ rejectUnauthorized: false }, false]],
  ["postgres://h?sslmode=disable", [false]],
  ["postgres://h?sslmode=require", [{ rejectUnauthorized: false }]],
  ["postgres:///d?host=/run/postgresql&sslmode=require", [false]],
])("TLS of %s", (text, ways) => {
  expect(tlsWays(parsePostgresUrl(text, "--x"), {})).toEqual(ways)
})

test("a file makes TLS verified, with the host's name", () => {
  const address = parsePostgresUrl("postgres://db.example", "--x")
  const [way, ...others] = tlsWays(address, { ca: "its PEM" })
  if (way === undefined || way === false) throw new Error("no TLS")
  expect(others).toEqual([])
  expect(way.rejectUnauthorized).toBeUndefined()
  const certificate = { subject: { CN: "other.example" }, subjectaltname: "DNS:other.example" }
  const refusal = way.checkServerIdentity?.("ignored", certificate as never)
  expect(refusal?.message).toContain("db.example")
})
