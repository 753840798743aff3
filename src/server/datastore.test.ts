import { expect, test } from "vitest"
import { KnownError } from "../errors.ts"
import { mayCome } from "./datastore.ts"

const unavailable = (why: string) => new KnownError("StoreUnavailable", `etcd at https://x: ${why}`)
const REFUSED = unavailable("connect ECONNREFUSED 127.0.0.1:2379")
const NO_NAME = unavailable("getaddrinfo ENOTFOUND x")

test.each([
  ["a database that is not there is waited for, as kine does it", REFUSED, 299, true],
  ["but not for ever", REFUSED, 300, false],
  ["a name may not be known yet while the machine starts", NO_NAME, 29, true],
  ["later it is a mistake", NO_NAME, 30, false],
  ["a wrong password is one at once", new KnownError("StoreRefused", "no"), 1, false],
  ["so is a bug", new Error("StoreUnavailable"), 1, false],
])("%s", (_, error, attempt, expected) => {
  expect(mayCome(error, attempt)).toBe(expected)
})
