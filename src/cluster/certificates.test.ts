import "reflect-metadata"
import * as x509 from "@peculiar/x509"
import { createPrivateKey, generateKeyPairSync, X509Certificate } from "node:crypto"
import { once } from "node:events"
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs"
import { createServer as createHttpsServer, get } from "node:https"
import { type AddressInfo, isIP } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { connect, createServer, type TLSSocket } from "node:tls"
import { afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest"
import { run } from "../../tests/harness/process.ts"
import { isKnown } from "../errors.ts"
import {
  ensureCertificates,
  namesOf,
  readAuthorities,
  renewalReason,
  servingNames,
} from "./certificates.ts"
import { issueAdmin, issueServing, makeAuthorities } from "./issue.ts"
import { type Authorities, certificatesOf, type Pair } from "./pem.ts"
import { openDataDir } from "./data-dir.ts"

const DAY_MS = 24 * 60 * 60 * 1000
const NOW = new Date("2026-11-23T21:00:00.500Z")
const inDays = (days: number) => new Date(NOW.getTime() + days * DAY_MS)

const NAMES = servingNames({ hostname: "Host.example", bindAddress: "0.0.0.0", tlsSans: [] })

let ours: Authorities
let others: Authorities
let dir = ""
beforeAll(async () => {
  ours = await makeAuthorities(NOW)
  others = await makeAuthorities(NOW)
})
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "keyturn-tls-"))
})
afterEach(() => rmSync(dir, { recursive: true }))

const opened = (pair: Pair) => new X509Certificate(pair.cert)

describe("names", () => {
  test("canonical, sorted, each once", () => {
    expect(
      servingNames({
        hostname: "Host",
        bindAddress: "10.0.0.5",
        tlsSans: ["FD00:0::1", "10.0.0.5", "localhost", "B.example"],
      }),
    ).toEqual([
      "10.0.0.5",
      "127.0.0.1",
      "::1",
      "b.example",
      "fd00::1",
      "host",
      "kubernetes",
      "kubernetes.default",
      "kubernetes.default.svc",
      "localhost",
    ])
  })

  test("a certificate says the names it was issued for", async () => {
    const names = ["*.a.example", "10.0.0.1", "::1", "fd00::5:0:1", "x"]
    const pair = await issueServing(ours.server, { names, now: NOW })
    expect(namesOf(opened(pair)).toSorted()).toEqual(names)
  })
})

describe("what is issued", () => {
  test("authorities: two different ones, 10 years, with the moment in the name", () => {
    const [server, client] = [opened(ours.server), opened(ours.client)]
    expect(server.subject).toBe("CN=keyturn-server-ca@1795467600")
    expect(client.subject).toBe("CN=keyturn-client-ca@1795467600")
    for (const ca of [server, client]) {
      expect(ca.ca).toBe(true)
      expect(ca.checkIssued(ca) && ca.verify(ca.publicKey)).toBe(true)
      expect(ca.validFromDate).toEqual(new Date("2026-11-23T20:00:00Z"))
      expect(ca.validToDate).toEqual(new Date("2036-11-20T21:00:00Z"))
      expect(ca.publicKey.asymmetricKeyDetails).toMatchObject({ namedCurve: "prime256v1" })
    }
    expect(server.publicKey.equals(client.publicKey)).toBe(false)
  })

  test("the admin: K3s' user and group, a year, with the chain behind it", async () => {
    const pair = await issueAdmin(ours.client, { now: NOW })
    const cert = opened(pair)
    expect(cert.subject).toBe("O=system:masters\nCN=system:admin")
    expect(cert.validToDate).toEqual(new Date("2027-11-23T21:00:00Z"))
    expect(cert.checkPrivateKey(createPrivateKey(pair.key))).toBe(true)
    expect(certificatesOf(pair.cert)[1]?.raw.equals(opened(ours.client).raw)).toBe(true)
  })

  test("nothing outlives its CA, or begins before it", async () => {
    const old = await makeAuthorities(inDays(-3650 + 40))
    const pair = await issueAdmin(old.client, { now: NOW })
    expect(opened(pair).validToDate).toEqual(opened(old.client).validToDate)
    const fresh = await makeAuthorities(inDays(1))
    const early = await issueAdmin(fresh.client, { now: NOW })
    expect(opened(early).validFromDate).toEqual(opened(fresh.client).validFromDate)
  })
})

describe("renewalReason", () => {
  let serving: Pair
  let admin: Pair
  beforeAll(async () => {
    serving = await issueServing(ours.server, { names: NAMES, now: NOW })
    admin = await issueAdmin(ours.client, { now: NOW })
  })
  const forServing = (changed: object = {}) => ({
    ca: ours.server,
    now: NOW,
    names: NAMES,
    ...changed,
  })

  test("none while it serves", () => {
    expect(renewalReason(serving, forServing())).toBeNull()
    expect(renewalReason(admin, { ca: ours.client, now: NOW })).toBeNull()
  })

  test("time", () => {
    const at = (days: number) => renewalReason(serving, forServing({ now: inDays(days) }))
    expect(at(334.9)).toBeNull()
    expect(at(335.1)).toBe("it ends on 2027-11-23T21:00:00.000Z")
    expect(at(366)).toBe("it ended on 2027-11-23T21:00:00.000Z")
    expect(at(-1)).toBe("it is not valid before 2026-11-23T20:00:00.000Z")
  })

  test("one that lasts as long as its CA is not made again and again", async () => {
    const old = await makeAuthorities(inDays(-3650 + 10))
    const pair = await issueAdmin(old.client, { now: NOW })
    expect(renewalReason(pair, { ca: old.client, now: NOW })).toBeNull()
  })

  test("names: ours must fit exactly", () => {
    const at = (names: string[]) => renewalReason(serving, forServing({ names }))
    expect(at([...NAMES, "a", "10.0.0.9"])).toBe("it was not for a, 10.0.0.9")
    expect(at(NAMES.filter((name) => name !== "host.example"))).toBe("it was for host.example too")
  })

  test("what does not belong together", () => {
    expect(renewalReason(null, forServing())).toBe("there was none")
    expect(renewalReason(serving, forServing({ ca: others.server }))).toBe(
      "another CA had issued it",
    )
    expect(renewalReason({ ...serving, key: admin.key }, forServing())).toBe(
      "its key was another one's",
    )
    for (const broken of [{ key: "" }, { cert: "" }, { cert: serving.cert.slice(0, 300) }]) {
      expect(renewalReason({ ...serving, ...broken }, forServing())).toBe("it was not readable")
    }
  })
})

describe("in a handshake", () => {
  /** What client and server see of each other, or the error's code. */
  async function handshake(given: {
    readonly serving: Pair
    readonly admin: Pair
    readonly trusted: Pair
    readonly servername: string
  }): Promise<object> {
    const { serving, admin, trusted, servername } = given
    const asking = { requestCert: true, rejectUnauthorized: false }
    const server = createServer({ ...serving, ...asking, ca: ours.client.cert })
    const seen = once(server, "secureConnection") as Promise<[TLSSocket]>
    server.listen(0, "127.0.0.1")
    await once(server, "listening")
    const socket = connect({
      host: "127.0.0.1",
      port: (server.address() as AddressInfo).port,
      ...(servername === "" ? {} : { servername }),
      ca: trusted.cert,
      ...admin,
    })
    try {
      await once(socket, "secureConnect")
      const [peer] = await seen
      const subject = { ...peer.getPeerCertificate().subject }
      peer.destroy()
      return { authorized: peer.authorized, subject }
    } catch (error) {
      return { refused: (error as NodeJS.ErrnoException).code }
    } finally {
      socket.destroy()
      server.close()
    }
  }

  let serving: Pair
  let admin: Pair
  beforeAll(async () => {
    const now = new Date()
    serving = await issueServing(ours.server, { names: NAMES, now })
    admin = await issueAdmin(ours.client, { now })
  })
  const given = () => ({ serving, admin, trusted: ours.server, servername: "" })
  const ADMIN = { authorized: true, subject: { O: "system:masters", CN: "system:admin" } }

  test.each(["", "localhost", "kubernetes.default.svc", "host.example"])(
    "both sides accept each other, asked as %j",
    async (servername) => {
      expect(await handshake({ ...given(), servername })).toEqual(ADMIN)
    },
  )

  test("another name and another CA are refused by the client", async () => {
    expect(await handshake({ ...given(), servername: "other.example" })).toEqual({
      refused: "ERR_TLS_CERT_ALTNAME_INVALID",
    })
    expect(await handshake({ ...given(), trusted: others.server })).toMatchObject({
      refused: expect.stringMatching(/SELF_SIGNED|UNABLE_TO|SIGNATURE/),
    })
  })

  test("a client certificate of another CA, or of the server's own, is not authorized", async () => {
    const now = new Date()
    for (const ca of [others.client, ours.server]) {
      const stranger = await issueAdmin(ca, { now })
      expect(await handshake({ ...given(), admin: stranger })).toMatchObject({ authorized: false })
    }
  })

  test("a serving certificate is no client certificate", async () => {
    const misused = await issueServing(ours.client, { names: NAMES, now: new Date() })
    expect(await handshake({ ...given(), admin: misused })).toMatchObject({ authorized: false })
  })

  test("an HTTPS client reaches it by address", async () => {
    const server = createHttpsServer(serving, (_, response) => response.end("ok"))
    server.listen(0, "127.0.0.1")
    await once(server, "listening")
    const { port } = server.address() as AddressInfo
    const request = get({ host: "127.0.0.1", port, ca: ours.server.cert, agent: false })
    const [response] = (await once(request, "response")) as [{ statusCode: number; resume(): void }]
    response.resume()
    expect(response.statusCode).toBe(200)
    server.close()
  })
})

const openssl = await run("openssl", ["version"]).then(
  ({ code }) => code === 0,
  () => false,
)

describe("openssl", () => {
  beforeEach(({ skip }) => skip(!openssl, "there is no openssl on PATH"))

  const save = (name: string, text: string) => {
    writeFileSync(join(dir, name), text)
    return join(dir, name)
  }

  test("accepts our chains by its strict rules", async () => {
    const now = new Date()
    const pairs = [
      [ours.server, await issueServing(ours.server, { names: NAMES, now }), "sslserver"],
      [ours.client, await issueAdmin(ours.client, { now }), "sslclient"],
    ] as const
    for (const [ca, leaf, purpose] of pairs) {
      const files = ["-CAfile", save("ca", ca.cert), save("leaf", leaf.cert)]
      const outcome = await run("openssl", [
        "verify",
        "-x509_strict",
        "-purpose",
        purpose,
        ...files,
      ])
      expect(outcome).toMatchObject({ code: 0, stderr: "" })
    }
  })

  test.each([
    ["P-256", ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]],
    ["P-384", ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384"]],
    ["P-521", ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-521"]],
    ["RSA", ["-newkey", "rsa:2048"]],
    ["Ed25519", ["-newkey", "ed25519"]],
  ])(
    "an authority with a key of type %s that somebody else made issues as well",
    async (_, type) => {
      const [cert, key] = [join(dir, "ca.crt"), join(dir, "ca.key")]
      const subject = ["-subj", "/O=An Example/CN=ca@1", "-addext", "keyUsage=critical,keyCertSign"]
      const made = ["req", "-x509", "-nodes", ...type, ...subject, "-keyout", key, "-out", cert]
      expect(await run("openssl", made)).toMatchObject({ code: 0 })
      const ca = { cert: readFileSync(cert, "utf8"), key: readFileSync(key, "utf8") }
      const now = new Date()
      const pair = await issueAdmin(ca, { now })
      expect(renewalReason(pair, { ca, now })).toBeNull()
      // Go, unlike OpenSSL, compares the names byte by byte
      const name = new x509.X509Certificate(ca.cert).subjectName.toArrayBuffer()
      expect(opened(pair).raw.includes(Buffer.from(name))).toBe(true)
      const verify = ["verify", "-x509_strict", "-CAfile", cert, save("leaf", pair.cert)]
      expect(await run("openssl", verify)).toMatchObject({ code: 0, stderr: "" })
    },
  )

  test("a serving certificate that K3s made for more names than ours is left alone", async () => {
    const at = (name: string) => join(dir, name)
    await run("openssl", ["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", at("key")])
    const san = [...NAMES, "10.43.0.1"].map((name) => `${isIP(name) ? "IP" : "DNS"}:${name}`)
    const ca = ["-CA", save("ca.crt", ours.server.cert), "-CAkey", save("ca.key", ours.server.key)]
    const leaf = [
      "-days",
      "99",
      "-subj",
      "/CN=kube-apiserver",
      "-addext",
      `subjectAltName=${san.join(",")}`,
    ]
    const made = ["req", "-x509", "-new", "-key", at("key"), ...ca, ...leaf, "-out", at("crt")]
    expect(await run("openssl", made)).toMatchObject({ code: 0 })
    const pair = { cert: readFileSync(at("crt"), "utf8"), key: readFileSync(at("key"), "utf8") }
    expect(pair.key).toContain("BEGIN EC PRIVATE KEY")
    const wanted = { ca: ours.server, now: new Date(), names: NAMES }
    expect(renewalReason(pair, wanted)).toBeNull()
    expect(renewalReason(pair, { ...wanted, names: [...NAMES, "new"] })).toBe("it was not for new")
  })

  test("a CA of the same name with another key is another CA", async () => {
    const twin = async (name: string): Promise<Pair> => {
      const [cert, key] = [join(dir, `${name}.crt`), join(dir, `${name}.key`)]
      const bare = [
        "-addext",
        "subjectKeyIdentifier=none",
        "-addext",
        "authorityKeyIdentifier=none",
      ]
      const made = [
        "req",
        "-x509",
        "-nodes",
        "-newkey",
        "ed25519",
        "-subj",
        "/CN=ca",
        "-days",
        "99",
      ]
      const outcome = await run("openssl", [...made, ...bare, "-keyout", key, "-out", cert])
      expect(outcome).toMatchObject({ code: 0 })
      return { cert: readFileSync(cert, "utf8"), key: readFileSync(key, "utf8") }
    }
    const [one, other] = [await twin("one"), await twin("other")]
    const now = new Date()
    const pair = await issueAdmin(one, { now })
    expect(renewalReason(pair, { ca: one, now })).toBeNull()
    expect(renewalReason(pair, { ca: other, now })).toBe("another CA had issued it")
  })

  test("under an intermediate of somebody else's the whole chain is sent", async () => {
    const at = (name: string) => join(dir, name)
    const ec = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "99"]
    const root = [...ec, "-subj", "/CN=root", "-keyout", at("r.key"), "-out", at("r.crt")]
    const middle = [...ec, "-subj", "/CN=middle", "-keyout", at("m.key"), "-out", at("m.crt")]
    const under = [
      "-CA",
      at("r.crt"),
      "-CAkey",
      at("r.key"),
      "-addext",
      "basicConstraints=critical,CA:TRUE",
    ]
    expect(await run("openssl", ["req", "-x509", ...root])).toMatchObject({ code: 0 })
    expect(await run("openssl", ["req", "-x509", ...middle, ...under])).toMatchObject({ code: 0 })
    const [rootPem, middlePem] = [
      readFileSync(at("r.crt"), "utf8"),
      readFileSync(at("m.crt"), "utf8"),
    ]
    const ca = { cert: middlePem + rootPem, key: readFileSync(at("m.key"), "utf8") }
    const leaf = await issueServing(ca, { names: NAMES, now: new Date() })
    expect(certificatesOf(leaf.cert).map((cert) => cert.subject)).toEqual([
      "CN=keyturn-server",
      "CN=middle",
      "CN=root",
    ])
    expect(renewalReason(leaf, { ca, now: new Date(), names: NAMES })).toBeNull()
  })
})

describe("in a data directory", () => {
  const ensure = (changed: object = {}) => {
    const { paths, release } = openDataDir(dir, { now: NOW })
    release()
    return ensureCertificates({ paths, authorities: ours, names: NAMES, now: NOW, ...changed })
  }
  const { paths, release } = openDataDir(mkdtempSync(join(tmpdir(), "keyturn-x-")), { now: NOW })
  release()
  rmSync(paths.dataDir, { recursive: true })
  const file = (path: string) => join(dir, path.slice(paths.dataDir.length))

  test("made once, and then only read", async () => {
    const first = await ensure()
    expect(first.issued).toEqual([
      "issued a new serving certificate, because there was none",
      "issued a new admin client certificate, because there was none",
    ])
    const again = await ensure({ now: inDays(300) })
    expect(again).toEqual({ serving: first.serving, admin: first.admin, issued: [] })
    expect(readFileSync(file(paths.serving.cert), "utf8")).toBe(first.serving.cert)
    for (const { cert, key } of [paths.serverCa, paths.clientCa, paths.serving, paths.admin]) {
      expect(statSync(file(key)).mode & 0o777).toBe(0o600)
      expect(statSync(file(cert)).mode & 0o777).toBe(0o644)
    }
  })

  test("renewed in time, when names change, and when a crash parted key and certificate", async () => {
    const first = await ensure()
    const late = await ensure({ now: inDays(340) })
    expect(late.issued).toEqual([
      "issued a new serving certificate, because it ends on 2027-11-23T21:00:00.000Z",
      "issued a new admin client certificate, because it ends on 2027-11-23T21:00:00.000Z",
    ])
    const named = await ensure({ now: inDays(340), names: [...NAMES, "new"] })
    expect(named.issued).toEqual(["issued a new serving certificate, because it was not for new"])
    expect(named.admin).toEqual(late.admin)
    writeFileSync(file(paths.admin.key), first.admin.key)
    const mended = await ensure({ now: inDays(340), names: [...NAMES, "new"] })
    expect(mended.issued).toEqual([
      "issued a new admin client certificate, because its key was another one's",
    ])
  })

  test("the keyring's authorities win over what lies there", async () => {
    await ensure({ authorities: others })
    const { issued } = await ensure()
    expect(issued).toEqual([
      "issued a new serving certificate, because another CA had issued it",
      "issued a new admin client certificate, because another CA had issued it",
    ])
    expect(readFileSync(file(paths.serverCa.cert), "utf8")).toBe(ours.server.cert)
  })

  test("authorities of the directory are taken up as they are; half of them is an error", async () => {
    const { paths: here, release } = openDataDir(dir, { now: NOW })
    release()
    const failure = () => {
      try {
        return readAuthorities(here)
      } catch (error) {
        return isKnown(error, "FilesUnreadable") ? error.message : error
      }
    }
    expect(failure()).toBeNull()
    await ensure()
    expect(failure()).toEqual(ours)
    writeFileSync(here.clientCa.key, others.client.key)
    expect(failure()).toBe(`${here.clientCa.key} is not the key of a CA in ${here.clientCa.cert}`)
    const admin = await issueAdmin(ours.client, { now: NOW })
    writeFileSync(here.clientCa.key, admin.key)
    writeFileSync(here.clientCa.cert, admin.cert)
    expect(failure()).toBe(`${here.clientCa.key} is not the key of a CA in ${here.clientCa.cert}`)
    rmSync(here.clientCa.key)
    const both = `${here.clientCa.cert} and ${here.clientCa.key} must both be there in PEM`
    expect(failure()).toBe(both)
    rmSync(here.clientCa.cert)
    expect(failure()).toBe(both)
  })
})

test("a start with everything in place does not load the issuing library", async () => {
  const { paths, release } = openDataDir(dir, { now: NOW })
  release()
  const now = new Date()
  await ensureCertificates({ paths, authorities: ours, names: NAMES, now })
  const module = JSON.stringify(new URL("./certificates.ts", import.meta.url).href)
  const dataDir = JSON.stringify(new URL("./data-dir.ts", import.meta.url).href)
  const script = `import { ensureCertificates, readAuthorities } from ${module}
    import { dataDirPaths } from ${dataDir}
    const paths = dataDirPaths(process.argv[1])
    const { issued } = await ensureCertificates({ paths, authorities: readAuthorities(paths),
      names: ${JSON.stringify(NAMES)}, now: new Date() })
    console.log(issued.length, typeof Reflect.getMetadata)`
  const outcome = await run(process.execPath, ["--input-type=module", "-e", script, dir])
  expect(outcome).toMatchObject({ stdout: "0 undefined\n", code: 0 })
})

test("a key that cannot sign is named", async () => {
  const key = generateKeyPairSync("ec", { namedCurve: "secp256k1" }).privateKey
  const ca = { cert: ours.server.cert, key: key.export({ type: "pkcs8", format: "pem" }) }
  const issued = issueAdmin(ca, { now: NOW })
  await expect(issued).rejects.toMatchObject({
    code: "FilesUnreadable",
    message:
      "cannot sign with a CA key of type ec secp256k1; known are RSA, Ed25519, P-256, P-384 and P-521",
  })
})
