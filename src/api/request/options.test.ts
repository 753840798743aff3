import { describe, expect, test } from "vitest"
import { failureOf, messageOf } from "../../../tests/outcome.ts"
import { transcript } from "../../../tests/transcripts.ts"
import * as options from "./options.ts"

const query = (text: string) => new URLSearchParams(text)

/** The query of a transcript's first request, and the answer to it. */
function recorded(number: string) {
  const { url = "", respBody = "" } = transcript(number).http[0] ?? {}
  return { query: new URL(url, "http://x").searchParams, respBody }
}

test.each([
  ["173", options.createOptions],
  ["174", options.createOptions],
  ["179", options.listOptions],
  ["192", options.listOptions],
  ["276", options.requestTimeoutMs],
  ["194", (of: URLSearchParams) => options.revisionOf(options.listOptions(of).resourceVersion)],
] as const)("transcript %s to the letter", (number, read) => {
  const { query, respBody } = recorded(number)
  expect(failureOf(() => read(query))).toBe(respBody)
})

test("the options of a write", () => {
  expect(options.createOptions(query(""))).toEqual({
    dryRun: false,
    fieldManager: "",
    fieldValidation: "Warn",
  })
  expect(options.updateOptions(query("dryRun=All&fieldManager=me&fieldValidation=Strict"))).toEqual(
    {
      dryRun: true,
      fieldManager: "me",
      fieldValidation: "Strict",
    },
  )
})

test("field managers are short and printable", () => {
  expect(messageOf(() => options.createOptions(query(`fieldManager=${"x".repeat(129)}`)))).toBe(
    'CreateOptions.meta.k8s.io "" is invalid: fieldManager: Too long: may not be more than 128 bytes',
  )
  expect(messageOf(() => options.updateOptions(query("fieldManager=%C3%A9%07")))).toBe(
    'UpdateOptions.meta.k8s.io "" is invalid: fieldManager: Invalid value: "é\\a": ' +
      "invalid character U+0007 (at position 2)",
  )
})

test("only server-side apply takes force, and it needs a manager", () => {
  const apply = { isApply: true }
  expect(options.patchOptions(query("fieldManager=a&force=true"), apply).force).toBe(true)
  expect(messageOf(() => options.patchOptions(query(""), apply))).toContain(
    "fieldManager: Required value: is required for apply patch",
  )
  expect(messageOf(() => options.patchOptions(query("force=false"), { isApply: false }))).toContain(
    "force: Forbidden: may not be specified for non-apply patch",
  )
})

describe("lists and watches", () => {
  test("what is not asked for", () => {
    expect(options.listOptions(query(""))).toEqual({
      labelSelector: "",
      fieldSelector: "",
      watch: false,
      allowWatchBookmarks: false,
      sendInitialEvents: undefined,
      resourceVersion: "",
      resourceVersionMatch: "",
      timeoutSeconds: undefined,
      limit: 0,
      continue: "",
    })
  })

  test("anything but 0 and false is true", () => {
    const watches = ["1", "true", "", "yes", "0", "False"].map(
      (value) => options.listOptions(query(`watch=${value}`)).watch,
    )
    expect(watches).toEqual([true, true, true, true, false, false])
  })

  // biome-ignore format: a table
  test.each([
    ["resourceVersionMatch=Exact&resourceVersion=0",         'resourceVersionMatch: Forbidden: resourceVersionMatch "exact" is forbidden for resourceVersion "0"'],
    ["resourceVersionMatch=X&resourceVersion=1",             'resourceVersionMatch: Unsupported value: "X": supported values: "Exact", "NotOlderThan", ""'],
    ["resourceVersionMatch=Exact&resourceVersion=1&continue=x", "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden when continue is provided"],
    ["sendInitialEvents=true",                               "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list"],
    ["watch=1&sendInitialEvents=true",                       "resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"],
    ["watch=1&resourceVersionMatch=NotOlderThan",            "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"],
    ["watch=1&resourceVersionMatch=Exact&sendInitialEvents=1", '[resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan, resourceVersionMatch: Unsupported value: "Exact": supported values: "NotOlderThan"]'],
  ])("%s", (text, message) => {
    expect(messageOf(() => options.listOptions(query(text)))).toBe(`ListOptions.meta.k8s.io "" is invalid: ${message}`)
  })

  test("numbers are integers of 64 bits", () => {
    expect(messageOf(() => options.listOptions(query("timeoutSeconds=9223372036854775808")))).toBe(
      'strconv.ParseInt: parsing "9223372036854775808": value out of range',
    )
    expect(options.listOptions(query("limit=-1")).limit).toBe(-1)
    expect(options.listOptions(query("limit=9223372036854775807")).limit).toBe(2 ** 53 - 1)
    expect(options.revisionOf("99999999999999999999")).toBe(2 ** 53 - 1)
  })

  test("a program's name is cut where a manager's may not be longer, by its bytes and between letters", () => {
    const named = (userAgent: string) =>
      options.managerOf({ dryRun: false, fieldManager: "", fieldValidation: "Warn" }, userAgent)
    expect(named(`${"é".repeat(100)}/1`)).toBe("é".repeat(64))
    expect(named(`a${"é".repeat(100)}/1`)).toBe(`a${"é".repeat(63)}`)
  })

  test("no resourceVersion, and 0, is any", () => {
    expect(["", "0", "17"].map(options.revisionOf)).toEqual([undefined, undefined, 17])
  })
})

describe("deletes", () => {
  test("a body rules out the query", () => {
    expect(options.deleteOptions(query("propagationPolicy=Orphan&dryRun=All"), {})).toEqual({
      preconditions: {},
      propagation: undefined,
      dryRun: false,
    })
    expect(
      options.deleteOptions(
        query("propagationPolicy=Orphan&dryRun=All&gracePeriodSeconds=5"),
        undefined,
      ),
    ).toEqual({ preconditions: {}, propagation: "Orphan", dryRun: true })
    expect(messageOf(() => options.deleteOptions(query("gracePeriodSeconds=x"), undefined))).toBe(
      'strconv.ParseInt: parsing "x": invalid syntax',
    )
  })

  test("the old orphanDependents", () => {
    const propagation = (text: string) => options.deleteOptions(query(text), undefined).propagation
    expect(propagation("orphanDependents=true")).toBe("Orphan")
    expect(propagation("orphanDependents=false")).toBe("Background")
  })

  test("what is not one of the policies", () => {
    expect(
      messageOf(() =>
        options.deleteOptions(query(""), { propagationPolicy: "X", orphanDependents: true }),
      ),
    ).toBe(
      'DeleteOptions.meta.k8s.io "" is invalid: [propagationPolicy: Invalid value: "X": ' +
        "orphanDependents and deletionPropagation cannot be both set, " +
        'propagationPolicy: Unsupported value: "X": supported values: "Foreground", "Background", "Orphan", "nil"]',
    )
  })
})

test("timeouts are Go's durations, and a minute at most", () => {
  const ms = (text: string) =>
    options.requestTimeoutMs(query(`timeout=${encodeURIComponent(text)}`))
  expect(["", "1s", "1.5s", "1m", "1h", "0", "32s", "250ms", "1m1s"].map(ms)).toEqual([
    60_000, 1000, 1500, 60_000, 60_000, 60_000, 32_000, 250, 60_000,
  ])
  expect(messageOf(() => ms("5"))).toContain('time: missing unit in duration "5"')
  expect(messageOf(() => ms("5y"))).toContain('time: unknown unit "y" in duration "5y"')
})

test("what a row of a Table carries", () => {
  const read = (text: string) => options.includeObject(query(text))
  expect(["", "includeObject=None", "includeObject=Object"].map(read)).toEqual([
    "Metadata",
    "None",
    "Object",
  ])
  expect(messageOf(() => read("includeObject=X"))).toBe(
    'Unable to convert to Table as requested: includeObject: Invalid value: "X": ' +
      "must be 'Metadata', 'Object', 'None', or empty",
  )
})
