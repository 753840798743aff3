/** What kubectl makes of discovery and OpenAPI alone, without a server behind them. */

import { mkdtempSync, rmSync } from "node:fs"
import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest"
import * as discovery from "../../src/api/kinds/discovery.ts"
import { negotiateDiscovery } from "../../src/api/request/negotiate.ts"
import { OPENAPI_DOCUMENTS, OPENAPI_INDEX } from "../../src/api/openapi/document.ts"
import { run } from "../harness/process.ts"
import { needs } from "../harness/programs.ts"
import { transcript } from "../transcripts.ts"

needs("kubectl")

const home = mkdtempSync(join(tmpdir(), "keyturn-openapi-"))
const requests: { line: string; accept: string; contentType: string; body: string }[] = []
/** What a GET of an object answers; 404 where it is empty. */
let live = ""

function documentOf(path: string, accept: string | undefined): discovery.Document | undefined {
  const version = negotiateDiscovery(accept)
  const aggregated = (core: boolean) => version && discovery.aggregatedDiscovery({ core, version })
  if (path === "/api") return aggregated(true) ?? discovery.apiVersions("localhost")
  if (path === "/apis") return aggregated(false) ?? discovery.apiGroupList
  if (path === "/openapi/v3") return OPENAPI_INDEX
  return OPENAPI_DOCUMENTS.get(path.replace("/openapi/v3/", ""))
}

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { pathname } = new URL(request.url ?? "", "http://x")
  let body = ""
  for await (const chunk of request) body += chunk
  const { accept = "", "content-type": contentType = "" } = request.headers
  requests.push({ line: `${request.method} ${request.url}`, accept, contentType, body })
  const document = documentOf(pathname, accept)
  if (document !== undefined) {
    response
      .writeHead(200, { "content-type": document.contentType, etag: document.etag })
      .end(document.body)
    return
  }
  const found = request.method === "GET" ? live : live || body
  response.writeHead(found ? 200 : 404, { "content-type": "application/json" }).end(found)
}

const server = createServer((request, response) => void answer(request, response))
beforeAll(() => new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening)))
beforeEach(() => {
  requests.length = 0
  live = ""
})
afterAll(() => {
  server.close()
  rmSync(home, { recursive: true })
})

const kubectl = (args: readonly string[], stdin = "") =>
  run(
    "kubectl",
    [
      `--server=http://127.0.0.1:${(server.address() as AddressInfo).port}`,
      `--cache-dir=${home}`,
      ...args,
    ],
    { env: { PATH: process.env.PATH, HOME: home }, stdin },
  )

test.each(["010", "011", "012", "013"])("transcript %s: explain, to the letter", async (number) => {
  const { argv = [], stdout = "", stderr = "", exit } = transcript(number)
  expect(await kubectl(argv)).toEqual({ stdout, stderr, code: exit })
})

test.each([
  "secret",
  "namespace",
  "node",
  "event",
  "node.status.conditions",
  "event.involvedObject",
])("explain %s --recursive", async (what) => {
  expect(await kubectl(["explain", what, "--recursive"])).toMatchObject({ code: 0, stderr: "" })
})

test("api-resources and api-versions show what is served", async () => {
  const { stdout } = await kubectl(["api-resources", "--no-headers", "-o", "name"])
  expect(stdout.split("\n")).toContain("selfsubjectaccessreviews.authorization.k8s.io")
  expect((await kubectl(["api-versions"])).stdout).toBe(
    "authentication.k8s.io/v1\nauthorization.k8s.io/v1\nv1\n",
  )
})

const SECRET = { apiVersion: "v1", kind: "Secret", metadata: { name: "a", namespace: "default" } }

test.each(["Secret", "Namespace", "Event"])(
  "create a %s: kubectl leaves the fields to the server's check",
  async (kind) => {
    await kubectl(
      ["create", "-f", "-"],
      JSON.stringify({ ...SECRET, kind, metadata: { name: "a" } }),
    )
    expect(requests.map(({ line }) => line).join("\n")).toMatch(/^POST .*fieldValidation=Strict$/m)
  },
)

test("apply finds the merge keys: an owner is added, not all owners replaced", async () => {
  const owner = (uid: string) => ({ apiVersion: "v1", kind: "X", name: uid, uid })
  const before = { ...SECRET, metadata: { ...SECRET.metadata, ownerReferences: [owner("1")] } }
  const annotations = { "kubectl.kubernetes.io/last-applied-configuration": JSON.stringify(before) }
  live = JSON.stringify({
    ...before,
    metadata: { ...before.metadata, annotations, resourceVersion: "1" },
  })
  const after = {
    ...SECRET,
    metadata: { ...SECRET.metadata, ownerReferences: [owner("1"), owner("2")] },
  }
  expect(await kubectl(["apply", "-f", "-"], JSON.stringify(after))).toMatchObject({
    code: 0,
    stderr: "",
  })
  const patch = requests.find(({ line }) => line.startsWith("PATCH"))
  expect(patch?.contentType).toBe("application/strategic-merge-patch+json")
  expect(JSON.parse(patch?.body ?? "").metadata).toMatchObject({
    "$setElementOrder/ownerReferences": [{ uid: "1" }, { uid: "2" }],
    ownerReferences: [owner("2")],
  })
})

test("kubectl asks for OpenAPI v3 in JSON, and for nothing else of OpenAPI", async () => {
  await kubectl(["explain", "secret"])
  await kubectl(["create", "-f", "-"], JSON.stringify(SECRET))
  const openapi = requests.filter(({ line }) => line.includes("/openapi/"))
  expect(openapi.length).toBeGreaterThan(2)
  for (const { line, accept } of openapi) {
    expect(line).toMatch(/^GET \/openapi\/v3[/?]/)
    expect(accept).toMatch(/^application\/json(?:, \*\/\*)?$/)
  }
})
