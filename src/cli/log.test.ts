import { expect, test } from "vitest"
import { KnownError } from "../errors.ts"
import { makeLog, textLine } from "./log.ts"

function lines(
  options: Parameters<typeof makeLog>[0],
  say: (log: ReturnType<typeof makeLog>) => void,
) {
  const said: string[] = []
  say(makeLog(options, { now: () => new Date(0), write: (line) => void said.push(line) }))
  return said
}

test("JSON for collectors", () => {
  const said = lines({ logLevel: "info", logFormat: "json" }, (log) => {
    log.debug("unseen")
    log.info({ port: 6443 }, "ready")
  })
  expect(said).toEqual([
    '{"level":"info","time":"1970-01-01T00:00:00.000Z","port":6443,"msg":"ready"}\n',
  ])
})

test("text for people", () => {
  const said = lines({ logLevel: "debug", logFormat: "text" }, (log) => {
    log.debug("seen")
    log.warn({ name: "a b", n: 3 }, "look")
  })
  expect(said).toEqual([
    "1970-01-01T00:00:00.000Z DEBUG seen\n",
    '1970-01-01T00:00:00.000Z WARN look name="a b" n=3\n',
  ])
})

test("an error brings its stack, on lines of its own", () => {
  const error = new TypeError("broken", { cause: new Error("rust") })
  const [line = ""] = lines({ logLevel: "info", logFormat: "text" }, (log) =>
    log.error({ err: error }, "ended"),
  )
  expect(line).toMatch(/^1970-01-01T00:00:00.000Z ERROR ended\nTypeError: broken\n {4}at /)
  expect(line).toContain("rust")
})

test("a foreseen failure is one line, with its causes", () => {
  const cause = new Error("connect ECONNREFUSED", { cause: new TypeError("rust\nINFO forged") })
  const error = new KnownError("StoreUnavailable", "etcd: connect ECONNREFUSED", { cause })
  const say = (log: ReturnType<typeof makeLog>) => log.warn({ err: error, n: 1 }, "tried again")
  expect(lines({ logLevel: "info", logFormat: "text" }, say)).toEqual([
    "1970-01-01T00:00:00.000Z WARN tried again: etcd: connect ECONNREFUSED: rust\\nINFO forged (StoreUnavailable) n=1\n",
  ])
  const [line = ""] = lines({ logLevel: "info", logFormat: "json" }, say)
  expect(JSON.parse(line).err).toEqual({
    code: "StoreUnavailable",
    message: "etcd: connect ECONNREFUSED: rust\nINFO forged",
  })
})

test("a line break in a value does not make a second line", () => {
  const record = { level: "info", time: "t", msg: "m\nINFO forged", name: "a\nb" }
  expect(textLine(JSON.stringify(record))).toBe('t INFO m\\nINFO forged name="a\\nb"\n')
})
