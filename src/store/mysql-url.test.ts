import { expect, test } from "vitest"
import { isKnown } from "../errors.ts"
import { mysqlTlsWays, parseMysqlUrl } from "./mysql-url.ts"

const standard = {
  host: "localhost",
  port: 3306,
  user: "root",
  password: "",
  database: "kubernetes",
  tls: undefined,
}

test.each([
  ["mysql://", {}],
  ["mysql://db.example:6000/Keys", { host: "db.example", port: 6000, database: "Keys" }],
  ["mysql://me:p%40ss%2Fw@[::1]/k", { user: "me", password: "p@ss/w", host: "::1", database: "k" }],
  ["mysql://tcp(db.example)/", { host: "db.example" }],
  [
    "mysql://me:p@ss/w%41:(x)@tcp([::1]:6000)/k",
    { user: "me", password: "p@ss/w%41:(x)", host: "::1", port: 6000, database: "k" },
  ],
  [
    "mysql://me@unix(/run/mysqld/mysqld.sock)/k",
    { user: "me", host: "/run/mysqld/mysqld.sock", database: "k" },
  ],
  ["mysql://tcp(h:1)/k?tls=preferred", { host: "h", port: 1, database: "k", tls: "preferred" }],
])("%s", (text, expected) => {
  expect(parseMysqlUrl(text, "--x")).toEqual({ ...standard, ...expected })
})

test.each([
  ["mysql://u:s3cr3t@h:port/d", /is not an address/],
  ["mysql://u:s3cr3t@tcp(h:port)/d", /is not an address/],
  ["mysql://u:s3cr3t@h/d?tls=s3cr3t", /a tls that is none of false, preferred/],
  ["mysql://u:s3cr3t@h/d?charset=x", /a parameter charset/],
  ["mysql://u:s3cr3t%zz@h/d", /a % that is not followed/],
])("refused without the password: %s", (text, why) => {
  let seen: unknown
  try {
    parseMysqlUrl(text, "--x")
  } catch (error) {
    seen = error
  }
  expect(isKnown(seen, "UsageInvalid")).toBe(true)
  expect(String(seen)).toMatch(why)
  expect(String(seen)).not.toContain("s3cr3t")
})

const NONE = {}
const CA = { ca: "its PEM" }

test.each([
  ["mysql://h", NONE, [undefined]],
  ["mysql://h?tls=preferred", NONE, [{ verifies: false }, undefined]],
  ["mysql://h?tls=skip-verify", NONE, [{ verifies: false }]],
  ["mysql://h?tls=true", NONE, [{ verifies: true }]],
  ["mysql://h", CA, [{ ...CA, verifies: true }]],
  ["mysql://h?tls=skip-verify", CA, [{ ...CA, verifies: false }]],
  ["mysql://unix(/s)/?tls=true", CA, [undefined]],
])("TLS of %s with %o", (text, given, ways) => {
  expect(mysqlTlsWays(parseMysqlUrl(text, "--x"), given)).toEqual(ways)
})
