/** What is secret is planted (tokens, key bytes, Secret data), everything is done that could let it out, and then it is looked for:
 *  in every log and error, in /metrics, in the process list, in every file that should not hold it. */
import { randomBytes } from "node:crypto"
import { readFileSync, writeFileSync } from "node:fs"
import { request } from "node:https"
import { join } from "node:path"
import { beforeAll, expect, test } from "vitest"
import { apiClient } from "../harness/api.ts"
import { Program, until } from "../harness/process.ts"
import { KEYTURN, keyturn, TestServer } from "../harness/server.ts"
import { filesBelow } from "../harness/stored.ts"

const SECRETS = "/api/v1/namespaces/default/secrets"
const text = (name: string) => `planted-${name}-${randomBytes(12).toString("hex")}`
const keyBytes = randomBytes(32)

const PLANTED = {
  token: text("token"),
  newToken: text("new-token"),
  wrongToken: text("wrong-token"),
  key: keyBytes,
  data: text("data"),
  brokenBody: text("broken-body"),
} as const
type Name = keyof typeof PLANTED

/** The forms in which bytes could show. Base64 of a longer text holds ours shifted by up to two bytes: the whole quads are cut out. */
const formsOf = (bytes: Buffer): Buffer[] => [
  bytes,
  Buffer.from(bytes.toString("hex")),
  ...[0, 1, 2].map((shift) => {
    const shifted = Buffer.concat([Buffer.alloc(shift), bytes]).toString("base64")
    return Buffer.from(shifted.slice(shift === 0 ? 0 : 4, -4))
  }),
]
const bytesOf = (value: string | Buffer) => (typeof value === "string" ? Buffer.from(value) : value)
const FORMS = Object.entries(PLANTED).map(
  ([name, value]) => [name as Name, formsOf(bytesOf(value))] as const,
)

const found = (place: Buffer | string): Name[] => {
  const bytes = bytesOf(place)
  return FORMS.filter(([, forms]) => forms.some((form) => bytes.includes(form))).map(
    ([name]) => name,
  )
}

/** Place → what a reader finds there. */
const said = new Map<string, string>()
let server: TestServer

async function say(
  place: string,
  of: Promise<{ stdout?: string; stderr?: string; body?: string }>,
) {
  const { stdout = "", stderr = "", body = "" } = await of
  said.set(place, stdout + stderr + body)
}

/** A request with whatever credentials, and a body as it is. */
function raw(path: string, { headers, body }: { headers: Record<string, string>; body?: string }) {
  const { promise, resolve, reject } = Promise.withResolvers<{ body: string }>()
  const options = {
    method: body === undefined ? "GET" : "POST",
    headers,
    rejectUnauthorized: false,
  }
  const sent = request(new URL(path, server.url), options, (response) => {
    let answer = ""
    response.setEncoding("utf8").on("data", (part: string) => (answer += part))
    response.once("end", () => resolve({ body: answer }))
  })
  sent.once("error", reject).end(body)
  return promise
}

const basic = (password: string) => `Basic ${Buffer.from(`server:${password}`).toString("base64")}`

const configuration = JSON.stringify({
  kind: "EncryptionConfiguration",
  apiVersion: "apiserver.config.k8s.io/v1",
  resources: [
    {
      resources: ["secrets"],
      providers: [
        { aescbc: { keys: [{ name: "planted", secret: keyBytes.toString("base64") }] } },
        { identity: {} },
      ],
    },
  ],
})

beforeAll(async () => {
  server = new TestServer({ args: ["--log-level", "debug", "--secrets-encryption"] })
  const file = (name: string, content: string | Buffer) => {
    const path = join(server.home, name)
    writeFileSync(path, content, { mode: 0o600 })
    return path
  }
  const imported = file("encryption.json", configuration)
  const { token, newToken, wrongToken, data, brokenBody } = PLANTED
  await server.start(["--encryption-provider-config", imported, "--token", token])

  using api = apiClient(server.kubeconfig)
  const secret = (name: string, more: object = {}) => ({
    apiVersion: "v1",
    kind: "Secret",
    metadata: { name },
    stringData: { value: data },
    ...more,
  })
  expect((await api.call("POST", SECRETS, secret("good"))).status).toBe(201)
  // Refusals whose words could quote what they refuse.
  await say(
    "an invalid object",
    api.call("POST", SECRETS, secret("Not A Name", { type: "kubernetes.io/tls" })),
  )
  await say(
    "a key that is not one",
    api.call(
      "POST",
      SECRETS,
      secret("x", { data: { "a b": Buffer.from(data).toString("base64") } }),
    ),
  )
  await say(
    "data that is not base64",
    api.call("POST", SECRETS, secret("x", { data: { a: `%${data}` } })),
  )
  await say("an existing name", api.call("POST", SECRETS, secret("good")))
  await say(
    "a conflict",
    api.call(
      "PUT",
      `${SECRETS}/good`,
      secret("good", { metadata: { name: "good", resourceVersion: "1" } }),
    ),
  )
  const admin = { authorization: basic(token), "content-type": "application/json" }
  await say(
    "broken JSON",
    raw("/v1-keyturn/encrypt/config", { headers: admin, body: `{"stage":${brokenBody}` }),
  )
  await say(
    "broken YAML",
    raw(SECRETS, {
      headers: { ...admin, "content-type": "application/yaml" },
      body: `a: [${brokenBody}`,
    }),
  )
  await say(
    "wrong Basic",
    raw("/v1-keyturn/encrypt/status", { headers: { authorization: basic(wrongToken) } }),
  )
  await say("wrong Bearer", raw(SECRETS, { headers: { authorization: `Bearer ${wrongToken}` } }))
  await say("a token in the address", raw(`/api/v1/secrets?token=${wrongToken}`, { headers: {} }))

  await say(
    "the wrong token",
    keyturn(server, ["secrets-encrypt", "status", "--token", wrongToken]),
  )
  await say("a stray token", keyturn(server, ["secrets-encrypt", "status", token]))
  await say(
    "a token in a flag's name",
    keyturn(server, ["secrets-encrypt", "status", `--tokne=${token}`]),
  )
  await say("a token in a short flag", keyturn(server, ["secrets-encrypt", "status", `-x${token}`]))
  await say("a token as a command", keyturn(server, ["token", token]))
  for (const verb of ["rotate-keys", "disable", "enable", "prepare", "reencrypt"]) {
    await say(verb, keyturn(server, ["secrets-encrypt", verb]))
  }
  const fresh = file("new-token", newToken)
  const rotated = await keyturn(server, ["token", "rotate", "--new-token-file", fresh])
  // What it is for: the new token, on standard output alone.
  expect(rotated).toMatchObject({ code: 0, stdout: expect.stringContaining(newToken) })
  said.set("token rotate", rotated.stderr)
  await say("the old token", keyturn(server, ["secrets-encrypt", "status", "--token", token]))
  await say("metrics", api.call("GET", "/metrics"))
  await say("readyz", api.call("GET", "/readyz?verbose"))
}, 60_000)

test("everything that was to be said was said", () => {
  expect(said.get("metrics")).toContain("# TYPE")
  expect(said.get("the wrong token")).toMatch(/^keyturn: error: /m)
  expect(said.get("the old token")).toMatch(/^keyturn: error: /m)
  expect(said.get("rotate-keys")).toContain("keys rotated, reencryption finished")
  expect(said.get("broken JSON")).toContain('"kind":"Status"')
  expect(server.logs()).toContain("keyturn is ready")
})

test("what is planted is found where it is", () => {
  const { token, data } = PLANTED
  const inBase64 = Buffer.from(`server:${token}`).toString("base64")
  expect(
    [token, `x ${data} y`, keyBytes.toString("hex"), inBase64, configuration].map(found),
  ).toEqual([["token"], ["data"], ["key"], ["token"], ["key"]])
})

test("no answer, no error and no log holds any of it", () => {
  for (const [place, words] of said) expect(found(words), `${place}: ${words}`).toEqual([])
  expect(found(server.logs()), server.logs()).toEqual([])
})

test("the process list shows no argument of a server or of a command, and no core would be dumped", async () => {
  const cmdline = (pid: number) => readFileSync(`/proc/${pid}/cmdline`, "utf8").replace(/\0+$/, "")
  expect(cmdline(server.pid)).toBe("keyturn server")
  expect(readFileSync(`/proc/${server.pid}/limits`, "utf8")).toMatch(/^Max core file size +0 +0 /m)

  const { token } = PLANTED
  const silent = ["secrets-encrypt", "status", "--server", "https://192.0.2.1", "--token", token]
  await using command = new Program(KEYTURN, silent, { env: server.env })
  await until(() => cmdline(command.pid) === "keyturn")
})

/** Which files may hold what. */
const MAY: Readonly<Record<string, readonly Name[]>> = {
  "server/token": ["newToken"],
  "server/cred/encryption-config.json": ["key"],
}

test("only the files for it hold a token or a key, and none holds data", () => {
  const files = filesBelow(server.dataDir)
  expect([...files.keys()]).toEqual(expect.arrayContaining(["server/db/state.db", "server/token"]))
  for (const [path, bytes] of files) {
    for (const name of found(bytes)) expect(MAY[path] ?? [], path).toContain(name)
  }
})
