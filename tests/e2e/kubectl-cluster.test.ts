/** What is around Secrets, through the real kubectl: the served kinds and their fields, Namespaces that end, the Node, Events, who
 *  may do what, and how kubectl fails at what keyturn does not serve. */

import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { afterAll, beforeAll, expect, test } from "vitest"
import { until } from "../harness/process.ts"
import { needs } from "../harness/programs.ts"
import { type CommandOptions, kubectl, kubectlSaid, TestServer } from "../harness/server.ts"

needs("kubectl")

const server = new TestServer({})
beforeAll(async () => {
  const tokens = join(server.home, "tokens.csv")
  writeFileSync(tokens, `reader,reader,reader-uid,"readers"\n`)
  await server.start(["--node-name", "n1", "--token-auth-file", tokens])
  await said(["config", "set-credentials", "reader", "--token=reader"])
  await said(["config", "set-context", "reader", "--cluster=default", "--user=reader"])
})
afterAll(() => server[Symbol.asyncDispose]())

const said = (argv: readonly string[], options?: CommandOptions) =>
  kubectlSaid(server, argv, options)

const reading = (object: object): CommandOptions => ({ stdin: JSON.stringify(object) })
const event = (name: string) => ({
  apiVersion: "v1",
  kind: "Event",
  metadata: { name },
  involvedObject: { apiVersion: "v1", kind: "Secret", namespace: "default", name: "turned" },
  type: "Normal",
  reason: "Turned",
  message: `${name} happened`,
  source: { component: "tests" },
  firstTimestamp: "2020-01-02T03:04:05Z",
  lastTimestamp: new Date(Date.now() - 61_000).toISOString().replace(/\.\d+/, ""),
  count: 2,
})

test.each([
  ["secret", "stringData\t<map[string]string>"],
  ["namespace", "status\t<NamespaceStatus>"],
  ["node", "spec\t<NodeSpec>"],
  ["event", "involvedObject\t<ObjectReference>"],
])("explain %s", async (kind, field) => {
  const text = await said(["explain", kind])
  expect(text).toMatch(new RegExp(`^KIND: +${kind}\\nVERSION: +v1\\n`, "i"))
  expect(text).toContain(field)
})

test("describe secret shows sizes, and no value", async () => {
  await said(["create", "secret", "generic", "described", "--from-literal=k=s3cr3t"])
  const text = await said(["describe", "secret", "described"])
  expect(text).toMatch(/^Type: +Opaque$/m)
  expect(text).toMatch(/^k: +6 bytes$/m)
  expect(text).not.toMatch(/s3cr3t|czNjcjN0/)
})

test("describe node: it is ready, has no pods, and its events", async () => {
  await said(
    ["create", "-f", "-"],
    reading({ ...event("booted"), involvedObject: { kind: "Node", name: "n1", uid: "n1" } }),
  )
  const text = await said(["describe", "node", "n1"])
  expect(text).toMatch(/^Name: +n1\nRoles: +control-plane$/m)
  expect(text).toMatch(/^ {2}Ready +True .* keyturn is serving$/m)
  expect(text).toMatch(/^Non-terminated Pods: +\(0 in total\)$/m)
  expect(text).toMatch(/^ {2}Normal +Turned .* tests +booted happened$/m)
})

test("label, annotate, taint, cordon and drain a node; it goes on as it was", async () => {
  expect(await said(["label", "node", "n1", "a=b"])).toBe("node/n1 labeled\n")
  expect(await said(["annotate", "node", "n1", "example.com/a=b"])).toBe("node/n1 annotated\n")
  expect(await said(["taint", "node", "n1", "a=b:NoSchedule"])).toBe("node/n1 tainted\n")
  expect(await said(["get", "nodes", "-l", "a=b", "-o", "name"])).toBe("node/n1\n")
  expect(await said(["cordon", "n1"])).toBe("node/n1 cordoned\n")
  expect(await said(["drain", "n1"])).toBe("node/n1 already cordoned\nnode/n1 drained\n")
  expect(await said(["uncordon", "n1"])).toBe("node/n1 uncordoned\n")
  expect(await said(["taint", "node", "n1", "a-"])).toBe("node/n1 untainted\n")
  expect(await said(["label", "node", "n1", "a-"])).toBe("node/n1 unlabeled\n")
  expect(await said(["wait", "--for=condition=Ready", "node/n1"])).toBe("node/n1 condition met\n")
  const annotation = "jsonpath={.metadata.annotations.example\\.com/a}"
  expect(await said(["get", "node", "n1", "-o", annotation])).toBe("b")
})

test("delete ns ends with all that is in it, and describe says what holds it", async () => {
  await said(["create", "ns", "ending"])
  const inIt = (...argv: readonly string[]) => ["-n", "ending", ...argv]
  await said(inIt("create", "secret", "generic", "free"))
  await said(inIt("create", "secret", "generic", "held"))
  const finalizers = (list: readonly string[] | null) =>
    inIt("patch", "secret", "held", "-p", JSON.stringify({ metadata: { finalizers: list } }))
  await said(finalizers(["example.com/f"]))
  await said(inIt("create", "-f", "-"), {
    ...reading({ ...event("in-it"), involvedObject: { kind: "Secret", namespace: "ending" } }),
  })
  await said(["delete", "ns", "ending", "--wait=false"])
  await until(
    async () => (await said(inIt("get", "secrets,events", "-o", "name"))) === "secret/held\n",
  )
  const text = await said(["describe", "ns", "ending"])
  expect(text).toMatch(/^Status: +Terminating$/m)
  expect(text).toMatch(/Some resources are remaining: secrets\. has 1 resource instances$/m)
  await said(finalizers(null))
  await said(["wait", "--for=delete", "ns/ending", "--timeout=20s"])
  expect(await kubectl(server, ["get", "ns", "ending"])).toMatchObject({ code: 1, stdout: "" })
})

test("delete ns waits until it is gone, and the name is free again", async () => {
  await said(["create", "ns", "twice"])
  await said(["-n", "twice", "create", "secret", "generic", "a"])
  expect(await said(["delete", "ns", "twice"])).toBe('namespace "twice" deleted\n')
  await said(["create", "ns", "twice"])
  const { stderr } = await kubectl(server, ["-n", "twice", "get", "secrets"])
  expect(stderr).toBe("No resources found in twice namespace.\n")
})

test("get events and events show what was reported, selected by field", async () => {
  await said(["create", "-f", "-"], reading(event("first")))
  const select = ["--field-selector", "involvedObject.name=turned,reason=Turned"]
  expect(await said(["get", "events", ...select])).toMatch(
    /^LAST SEEN +TYPE +REASON +OBJECT +MESSAGE\n\d+s +Normal +Turned +secret\/turned +first happened\n$/,
  )
  expect(await said(["events", "--for", "secret/turned"])).toMatch(
    /\n\d+s \(x2 over \w+\) +Normal +Turned +Secret\/turned +first happened\n$/,
  )
  const none = await kubectl(server, ["get", "events", "--field-selector", "reason=Other"])
  expect(none.stderr).toBe("No resources found in default namespace.\n")
})

test("auth whoami and can-i, for the administrator and for one without rights", async () => {
  const whoami = (...argv: readonly string[]) =>
    said([...argv, "auth", "whoami", "-o", "jsonpath={.status.userInfo}"])
  expect(JSON.parse(await whoami())).toMatchObject({
    username: "system:admin",
    groups: ["system:masters", "system:authenticated"],
  })
  expect(JSON.parse(await whoami("--context=reader"))).toEqual({
    username: "reader",
    uid: "reader-uid",
    groups: ["readers", "system:authenticated"],
  })
  const mayI = async (...argv: readonly string[]) =>
    (await kubectl(server, ["auth", "can-i", "delete", "secrets", ...argv])).stdout
  expect(await mayI()).toBe("yes\n")
  expect(await mayI("--context=reader")).toBe("no\n")
  expect(await mayI("--as=somebody")).toBe("no\n")
  const list = (...argv: readonly string[]) => said(["auth", "can-i", "--list", ...argv])
  expect(await list()).toMatch(/\n\*\.\* +\[\] +\[\] +\[\*\]\n +\[\*\] +\[\] +\[\*\]\n$/)
  const own = await list("--context=reader")
  expect(own).toMatch(/\n +\[\/version\] +\[\] +\[get\]\n/)
  expect(own.match(/^\w+\.\S+/gm)?.toSorted()).toEqual([
    "selfsubjectaccessreviews.authorization.k8s.io",
    "selfsubjectreviews.authentication.k8s.io",
    "selfsubjectrulesreviews.authorization.k8s.io",
  ])
})

test("the server's own paths, and its version", async () => {
  expect(await said(["get", "--raw", "/readyz?verbose"])).toMatch(
    /^\[\+\]ping ok\n.*readyz check passed\n$/s,
  )
  expect(await said(["get", "--raw", "/livez"])).toBe("ok")
  const { stdout } = await kubectl(server, ["version", "-o", "json"])
  expect(JSON.parse(stdout).serverVersion).toMatchObject({
    major: "1",
    minor: "36",
    gitVersion: expect.stringMatching(/^v1\.36\.2\+keyturn-\d+\.\d+\.\d+$/),
  })
})

const NO_SUCH_KIND = /^error: the server doesn't have a resource type "[a-z]+"$/m
const NOT_FOUND = /the server could not find the requested resource$/m

test.each<[string, RegExp]>([
  ["cluster-info", NO_SUCH_KIND], // it asks for Services
  ["get pods", NO_SUCH_KIND],
  ["get all", NO_SUCH_KIND],
  ["logs x", NO_SUCH_KIND],
  ["exec x -- ls", NO_SUCH_KIND],
  ["rollout status deploy/x", NO_SUCH_KIND],
  ["top nodes", /^error: Metrics API not available$/m],
  ["create configmap x", NOT_FOUND],
  ["create serviceaccount x", NOT_FOUND],
  ["run x --image=x", /^error: no matches for kind "Pod" in version "v1"$/m],
  ["delete ns default", /namespaces "default" is forbidden: this namespace may not be deleted$/m],
])("%s fails politely", async (command, why) => {
  const { code, stderr } = await kubectl(server, command.split(" "))
  expect([code, stderr]).toEqual([1, expect.stringMatching(why)])
})
