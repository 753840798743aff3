/** Lists over objects that do not open: they fail as in Kubernetes, or leave them out and name them where the client says so. */
import { afterAll, beforeAll, expect, test } from "vitest"
import { type Admin, administrator } from "../harness/admin.ts"
import { type Served, serveInProcess } from "../harness/served.ts"

const SECRETS = "/api/v1/namespaces/default/secrets"
const LEAVE_OUT = "ignoreStoreReadErrorWithClusterBreakingPotential=true"
const BROKEN = ["b", "d", "e"]

let served: Served
let admin: Admin

beforeAll(async () => {
  served = await serveInProcess()
  admin = administrator(served)
  for (const name of ["a", "b", "c", "d", "e", "f"])
    await admin.ask(`POST ${SECRETS}`, { metadata: { name, labels: { is: name } } })
  for (const name of BROKEN) {
    const key = `/registry/secrets/default/${name}`
    const entry = await served.store.get(key)
    const value = Buffer.from("k8s:enc:aescbc:v1:lost:0123456789abcdef")
    await served.store.update({ key, value, expected: entry?.revision ?? 0, fence: undefined })
  }
})
afterAll(async () => {
  admin[Symbol.dispose]()
  await served.close()
})

interface List {
  readonly metadata: { readonly continue?: string; readonly remainingItemCount?: number }
  readonly items: readonly { readonly metadata: { readonly name: string } }[]
}

async function list(query: string) {
  const url = `${SECRETS}?${query}`
  const headers = { accept: "application/json" }
  const { status, headers: said, body } = await admin.http.send({ method: "GET", url, headers })
  const warnings = [said["warning"] ?? []]
    .flat()
    .join()
    .split(/, (?=299 )/)
  const { metadata, items } = JSON.parse(body.toString()) as List
  return { status, metadata, warnings, names: items?.map((item) => item.metadata.name) }
}

test("without a word a list fails as a whole, and names the first", async () => {
  const { status, body } = await admin.ask(`GET ${SECRETS}`)
  expect(status).toBe(500)
  expect(body).toMatchObject({ message: expect.stringContaining("/registry/secrets/default/b:") })
})

test("where the client says so they are left out, counted and named in warnings", async () => {
  const { status, names, warnings } = await list(LEAVE_OUT)
  expect({ status, names }).toEqual({ status: 200, names: ["a", "c", "f"] })
  expect(warnings[0]).toBe('299 - "3 objects do not open and are left out"')
  expect(warnings.slice(1)).toEqual(
    BROKEN.map((name) => expect.stringContaining(`/registry/secrets/default/${name}: `)),
  )
})

test.each([1, 2, 3])("in pages of %i each is named once, and none ends the list", async (limit) => {
  const names: string[] = []
  const warned: string[] = []
  for (let next: string | undefined = ""; next !== undefined; ) {
    const page = await list(`${LEAVE_OUT}&limit=${limit}&continue=${next}`)
    expect(page.status).toBe(200)
    names.push(...page.names)
    warned.push(...page.warnings.flatMap((text) => /default\/(\w): /.exec(text)?.[1] ?? []))
    next = page.metadata.continue
  }
  expect(names).toEqual(["a", "c", "f"])
  expect(warned).toEqual(BROKEN)
})

test("a list of one name, and one with a selector", async () => {
  const one = await list(`${LEAVE_OUT}&fieldSelector=metadata.name=d`)
  expect(one).toMatchObject({ status: 200, names: [] })
  expect(one.warnings[0]).toContain("1 object does not open and is left out")
  expect(await list(`${LEAVE_OUT}&labelSelector=is=c`)).toMatchObject({ names: ["c"] })
})
