import { createHash, X509Certificate } from "node:crypto"
import fc from "fast-check"
import { beforeAll, describe, expect, test } from "vitest"
import { isKnown } from "../errors.ts"
import { issueServing, makeAuthorities } from "./issue.ts"
import type { Authorities } from "./pem.ts"
import {
  caHash,
  checkClusterCa,
  formatToken,
  parseToken,
  passwordOf,
  randomPassword,
} from "./token.ts"

const HASH = "ab".repeat(32)

/** What `run` returns, or the message of the TokenInvalid it ends in. */
function outcome<T>(run: () => T): T | string {
  try {
    return run()
  } catch (error) {
    if (isKnown(error, "TokenInvalid")) return `! ${error.message}`
    throw error
  }
}

const password = (user: string, password: string, caHash = "") => ({
  kind: "password",
  caHash,
  user,
  password,
})
const bootstrap = (caHash = "") => ({
  kind: "bootstrap",
  caHash,
  id: "abcdef",
  secret: "0123456789abcdef",
})

test.each([
  [`K10${HASH}::server:pw`, password("server", "pw", HASH)],
  [`K10${HASH}::server:p:w::x`, password("server", "p:w::x", HASH)],
  [`K10${HASH}:::pw`, password("", "pw", HASH)],
  ["K10::server:pw", password("server", "pw")],
  ["K10server:pw", password("server", "pw")],
  [`K10${HASH}::abcdef.0123456789abcdef`, bootstrap(HASH)],
  ["abcdef.0123456789abcdef", bootstrap()],
  ["abcdef.0123456789abcdeF", password("", "abcdef.0123456789abcdeF")],
  ["pw", password("", "pw")],
  ["server:pw", password("", "server:pw")],
  ["a::b", password("", "a::b")],
  ["k10x", password("", "k10x")],
  ["", "! token must not be empty"],
  [`K10${HASH}00::server:pw`, "! invalid token CA hash length"],
  ["K10abc::server:pw", "! invalid token CA hash length"],
  ["K10", "! invalid token format"],
  ["K10pw", "! invalid token format"],
  [`K10${HASH}::pw`, "! invalid token format"],
  [`K10${HASH}::server:`, "! invalid token format"],
  ["pw ", "! token must not have blanks at its ends, or line breaks"],
  [`K10${HASH}::server:p\nw`, "! token must not have blanks at its ends, or line breaks"],
])("%s", (text, expected) => {
  expect(outcome(() => parseToken(text))).toEqual(expected)
})

test("what is formatted is parsed as it was; a bare password is itself", () => {
  const word = fc.stringMatching(/^[a-z0-9.-]{0,12}$/)
  const secret = fc.string({ minLength: 1 }).filter((text) => text === text.trim())
  const hash = fc.constantFrom("", HASH)
  fc.assert(
    fc.property(hash, word, secret, (caHash, user, password) => {
      const parts = { caHash, user, password }
      expect(parseToken(formatToken(parts))).toEqual({ kind: "password", ...parts })
      expect(passwordOf(formatToken(parts))).toBe(password)
    }),
  )
  fc.assert(
    fc.property(secret, (bare) => {
      fc.pre(!bare.startsWith("K10"))
      expect(passwordOf(bare)).toBe(bare)
    }),
  )
})

test("any text is a token or a sentence that does not repeat it", () => {
  const piece = fc.constantFrom(
    "K10",
    ":",
    "::",
    HASH,
    "server",
    "s3cret",
    "abcdef.0123456789abcdef",
  )
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 6 }), (pieces) => {
      const result = outcome(() => parseToken(pieces.join("")))
      if (typeof result === "string") expect(result).not.toContain("s3cret")
      else expect("kind" in result).toBe(true)
    }),
  )
})

test("a bootstrap token has no password to open anything with", () => {
  expect(outcome(() => passwordOf("abcdef.0123456789abcdef"))).toBe(
    "! failed to normalize token; must be in format K10<CA-HASH>::<USERNAME>:<PASSWORD> or <PASSWORD>",
  )
})

test("random passwords are 16 bytes in hex, and not the same", () => {
  expect(randomPassword()).toMatch(/^[0-9a-f]{32}$/)
  expect(randomPassword()).not.toBe(randomPassword())
})

describe("CA hash", () => {
  let one: Authorities
  let two: Authorities
  beforeAll(async () => {
    one = await makeAuthorities(new Date())
    two = await makeAuthorities(new Date())
  })
  const sha256 = (data: string | Buffer) => createHash("sha256").update(data).digest("hex")

  test("of one certificate: the bytes of the file, a comment among them", () => {
    const file = `# our CA\n${one.server.cert}`
    expect(caHash(file)).toBe(sha256(file))
  })

  test("of a chain: the root's DER, in whatever order it comes", async () => {
    const leaf = await issueServing(one.server, { names: ["a"], now: new Date() })
    const root = sha256(new X509Certificate(one.server.cert).raw)
    expect(caHash(leaf.cert)).toBe(root)
    const [first = ""] = leaf.cert.split(/(?<=-----END CERTIFICATE-----\n)/)
    expect(caHash(first + two.server.cert + one.server.cert)).toBe(root)
  })

  test("of certificates that are no chain: the bytes of the file", () => {
    const bundle = one.server.cert + two.server.cert
    expect(caHash(bundle)).toBe(sha256(bundle))
  })

  test("of none: an error", () => {
    expect(outcome(() => caHash("<html>"))).toBe("! the CA bundle holds no certificate")
  })

  test("a client warns where nothing can be compared and refuses another CA", () => {
    const hash = caHash(one.server.cert)
    const full = parseToken(`K10${hash}::server:pw`)
    const bare = parseToken("pw")
    expect(checkClusterCa(full, one.server.cert)).toBeNull()
    expect(checkClusterCa(bare, null)).toBeNull()
    expect(checkClusterCa(full, null)).toBe(
      "Cluster CA certificate is trusted by the host CA bundle. Token CA hash will not be validated.",
    )
    expect(checkClusterCa(bare, one.server.cert)).toMatch(
      /^Cluster CA certificate is not trusted .* Use the full token from the server's node-token file/,
    )
    expect(outcome(() => checkClusterCa(full, two.server.cert))).toBe(
      `! token CA hash does not match the Cluster CA certificate hash: ${hash} != ${caHash(two.server.cert)}`,
    )
  })
})
