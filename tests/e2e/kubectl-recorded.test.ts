/** Every kubectl command of the recorded conversations, given again to a real server over TLS with the kubectl of this machine:
 *  the same exit code, the same output, the same errors, in the recorded order. */

import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { afterAll, beforeAll, expect, test } from "vitest"
import { Program, until } from "../harness/process.ts"
import { needs } from "../harness/programs.ts"
import { kubectl, kubectlSaid, TestServer } from "../harness/server.ts"
import { type Transcript, transcripts } from "../transcripts.ts"
import { withoutValues } from "../transcripts/differences.ts"

needs("kubectl")

const SKIPPED: Readonly<Record<string, string>> = {
  "001": "its answer is the two versions, which are others here",
  "309":
    "its server was restarted with a wrong key in its file; a keyturn server's keys are in its datastore",
}

/** What keyturn says otherwise: of resources and groups only those that it serves; of a refused Secret no data. */
const OTHERWISE: Readonly<Record<string, (said: string) => string>> = {
  "002": (stdout) => linesWith(stdout, /^(?:NAME|events|namespaces|nodes|secrets) /),
  "003": (stdout) =>
    linesWith(stdout, /^(?:authentication\.k8s\.io\/|authorization\.k8s\.io\/)?v1$/),
  "087": withoutValues,
}
const linesWith = (text: string, pattern: RegExp) =>
  text
    .split("\n")
    .filter((line) => pattern.test(line) || line === "")
    .join("\n")

/** `kubectl describe secret` walks over a map of Go: its lines come in any order. */
const UNORDERED: ReadonlySet<string> = new Set(["048"])
const sortedLines = (text: string) => text.split("\n").toSorted().join("\n")

/** Told apart by nature or by kubectl's version, and compared by form. */
const FORMS: readonly (readonly [RegExp, string])[] = [
  [/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, "<uid>"],
  [/\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+ [+-]\d{4}|Z)/g, "<time>"],
  [/(resourceVersion(?:\\?")?: ?\\?")\d+/g, "$1<revision>"],
  [/(?<=\S) {2,}(?=\S)/g, "   "], // columns are as wide as the ages in them
  [/(?<= {3})(?:\d+[smh]){1,2}(?= {3}|$)/gm, "<age>"],
  [/\/\S*\/(?=v1\.Secret\.)/g, "DIR/"], // kubectl diff's folders
  [/"\/\S+"$/gm, '"DIR/FILE"'], // kubectl edit's file
  [/ from \w+ namespace(?= |$)/gm, ""], // kubectl delete, since 1.34
  [/^ *creationTimestamp: null\n/gm, ""], // kubectl create --dry-run=client, until 1.33
]
const inForm = (text: string) => FORMS.reduce((seen, [from, to]) => seen.replace(from, to), text)

interface Step {
  readonly argv: readonly string[]
  readonly stdin?: string
}

const secret = (metadata: object, rest: object = {}) => ({
  apiVersion: "v1",
  kind: "Secret",
  metadata,
  ...rest,
})
const withObjects = (argv: readonly string[], ...items: readonly object[]): Step => ({
  argv,
  stdin: JSON.stringify({ apiVersion: "v1", kind: "List", items }),
})
const create = (...items: readonly object[]) =>
  withObjects(["-n", "tr", "create", "-f", "-"], ...items)
const patch = (name: string, ...operations: readonly object[]): Step => ({
  argv: ["-n", "tr", "patch", "secret", name, "--type=json", "-p", JSON.stringify(operations)],
})
const ssa = ["-n", "tr", "apply", "--server-side", "-f", "-"]
const ssa1 = (n: number) =>
  secret(
    { name: "ssa1", labels: { v: `${n}` } },
    { stringData: { s: `str${n}` }, data: { k: btoa(`v${n}`) } },
  )
const zeros = (length: number) => Buffer.alloc(length).toString("base64")

/** What recordings that are missing, and those of plain HTTP, did before the one of this number. */
const BEFORE: Readonly<Record<string, readonly Step[]>> = {
  "036": [
    create(
      secret({ name: "files" }, { data: { a: "", b: "" } }),
      secret(
        { name: "tls1" },
        { type: "kubernetes.io/tls", data: { "tls.crt": zeros(1375), "tls.key": zeros(1704) } },
      ),
      ...["li1", "li2", "li3"].map((name) => secret({ name, labels: { app: "list" } })),
    ),
  ],
  "059": [
    withObjects(
      ["-n", "tr", "apply", "-f", "-"],
      secret({ name: "app1", labels: { v: "1" } }, { data: { k: "djE=", gone: "eA==" } }),
    ),
  ],
  "068": [withObjects(ssa, ssa1(1))],
  "071": [withObjects([...ssa, "--field-manager=other", "--force-conflicts"], ssa1(2))],
  "095": [patch("lit", { op: "replace", path: "/data", value: { only: "eA==" } })],
  "120": [create(secret({ name: "imm" }, { immutable: true, data: { a: "YQ==" } }))],
  "279": [create(secret({ name: "fin", finalizers: ["example.com/f"] }))], // keeps the namespace
  "281": [{ argv: ["wait", "--for=jsonpath={.status.phase}=Terminating", "ns/tr"] }],
  "282": [
    { argv: ["create", "ns", "tr2"] },
    withObjects(
      ["-n", "tr2", "create", "-f", "-"],
      ...["list", "web", "list", "web", "list", "web"].map((app, n) =>
        secret({ name: `s${n}`, labels: { app, tier: `t${n}` } }, { data: { a: "YQ==" } }),
      ),
    ),
  ],
}

const EDITORS: Readonly<Record<string, string>> = {
  "095": "true",
  "096": "sed -i s/eA==/x/",
}

/** They do not end by themselves: something ended the recorded ones too, and how is not compared. */
const WATCHES = ["212", "213"]

const server = new TestServer({})
beforeAll(async () => {
  const tokens = join(server.home, "tokens.csv")
  writeFileSync(tokens, `limited,limited,limited-uid,"limited"\n`)
  writeFileSync(join(server.home, "e.env"), "A=1\nB=two words\n")
  await server.start(["--secrets-encryption", "--token-auth-file", tokens])
  for (const [context, token] of [
    ["l", "limited"],
    ["bad", "nope"],
  ] as const) {
    await kubectlSaid(server, ["config", "set-credentials", context, `--token=${token}`])
    const inCluster = ["config", "set-context", context, "--cluster=default", `--user=${context}`]
    await kubectlSaid(server, inCluster)
  }
})
afterAll(() => server[Symbol.asyncDispose]())

interface Recorded extends Transcript {
  readonly number: string
}

/** Recorded revision of an object that is sent back → ours when it was first sent. */
const sent = new Map<string, Promise<string>>()

/** A whole object in standard input gets the uid and the revision that it has here. */
async function asHere(stdin: string): Promise<string> {
  const [, name, revision] = /"name":"(\w+)".*?"resourceVersion":"(\d+)"/.exec(stdin) ?? []
  if (name === undefined || revision === undefined) return stdin
  const path = "jsonpath={.metadata.uid} {.metadata.resourceVersion}"
  const argv = ["-n", "tr", "get", "secret", name, "-o", path]
  const here = sent.get(revision) ?? kubectlSaid(server, argv)
  sent.set(revision, here)
  const [uid, ourRevision] = (await here).split(" ")
  return stdin
    .replace(/"uid":"[^"]+"/, `"uid":"${uid}"`)
    .replace(`"resourceVersion":"${revision}"`, `"resourceVersion":"${ourRevision}"`)
}

async function outcomeOf({ number, argv = [], stdin = "", stdout = "", exit }: Recorded) {
  if (WATCHES.includes(number)) {
    await using watch = new Program("kubectl", argv, { env: server.env })
    const isAllHere = () => inForm(watch.stdout).length >= inForm(stdout).length
    await until(isAllHere).catch(() => {})
    return { stdout: watch.stdout, stderr: watch.stderr, code: exit }
  }
  const here = argv.map((word) => word.replace("DIR", server.home))
  const editor = { KUBE_EDITOR: EDITORS[number] ?? "false" }
  return kubectl(server, here, { stdin: await asHere(stdin), env: editor })
}

const commands: readonly Recorded[] = transcripts()
  .filter(({ argv }) => argv !== undefined)
  .map((recorded) => ({ number: recorded.name.slice(0, 3), ...recorded }))
  .filter(({ number }) => !(number in SKIPPED))

test.each(commands)("$name", async (recorded) => {
  const { number, stdout = "", stderr = "", exit } = recorded
  for (const { argv, ...rest } of BEFORE[number] ?? []) await kubectlSaid(server, argv, rest)
  const otherwise = OTHERWISE[number] ?? ((text) => text)
  const seen = await outcomeOf(recorded)
  const ordered = UNORDERED.has(number) ? sortedLines : (text: string) => text
  expect({
    code: seen.code,
    stdout: ordered(inForm(seen.stdout)),
    stderr: inForm(seen.stderr),
  }).toEqual({
    code: exit,
    stdout: ordered(inForm(otherwise(stdout))),
    stderr: inForm(otherwise(stderr)),
  })
})
