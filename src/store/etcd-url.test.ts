import { describe, expect, test } from "vitest"
import { isKnown } from "../errors.ts"
import { parseEtcdEndpoints } from "./etcd-url.ts"
import type { TlsFiles } from "./tls-files.ts"

const NONE: TlsFiles = { ca: null, cert: null, key: null }
const parse = (text: string, tls = NONE) => parseEtcdEndpoints(text, "the flag", tls)

describe("endpoints", () => {
  test.each([
    ["http://a:2379", ["http://a:2379"]],
    ["https://a", ["https://a:2379"]],
    ["https://a:80/", ["https://a:80"]],
    ["http://a:80", ["http://a:80"]],
    ["https://a:2379,https://b:4001", ["https://a:2379", "https://b:4001"]],
    ["https://a:1, b:2,c", ["https://a:1", "https://b:2", "https://c:2379"]],
    ["http://a,http://a:2379", ["http://a:2379"]],
    [
      "https://[fd00::5]:2379,https://[fd00::6]",
      ["https://[fd00::5]:2379", "https://[fd00::6]:2379"],
    ],
    ["etcd://a:2379", ["http://a:2379"]],
  ])("%s", (text, expected) => {
    expect(parse(text)).toEqual(expected)
  })

  test("etcd:// is TLS where a file for it is given", () => {
    expect(parse("etcd://a,b", { ...NONE, ca: "/ca.pem" })).toEqual([
      "https://a:2379",
      "https://b:2379",
    ])
  })

  test.each([
    ["https://ann:s3cr3t@a:2379", "names a user, and etcd's users are not supported"],
    ["https://a:2379/s3cr3t", "has more than a host and a port"],
    ["https://a:2379?s3cr3t", "has more than a host and a port"],
    ["https://a,http://s3cr3t", "mixes schemes"],
    ["https://a,", "is no URL"],
    ["https://a:s3cr3t", "is no URL"],
    ["s3cr3t:2379", "has an endpoint that is none of etcd's"],
    ["ftp://s3cr3t", "has an endpoint that is none of etcd's"],
  ])("%s is refused, and not quoted", (text, why) => {
    let seen: unknown
    try {
      parse(text)
    } catch (error) {
      seen = error
    }
    if (!isKnown(seen, "UsageInvalid")) throw seen ?? new Error("accepted")
    expect(seen.message).toMatch(/^the flag /)
    expect(seen.message).toContain(why)
    expect(seen.message).not.toContain("s3cr3t")
  })
})
