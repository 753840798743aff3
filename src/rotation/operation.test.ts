import { expect, test } from "vitest"
import { decodeOperation, encodeOperation, type Operation, startOperation } from "./operation.ts"

const operation: Operation = {
  ...startOperation({
    id: "1",
    holder: "s1",
    kind: "enable",
    target: null,
    retires: false,
    now: new Date(0),
  }),
  fence: "f",
  unreadableNames: [{ key: "/registry/secrets/default/s", why: "damaged" }],
  retired: ["k1"],
  kept: { k2: 1 },
}

test("an operation comes back as it was written", () => {
  expect(decodeOperation(encodeOperation(operation))).toEqual(operation)
})

test("a damaged record is none, whatever is damaged in it", () => {
  for (const text of ["", "{{", "null", "[]", "{}", '"x"'])
    expect(decodeOperation(Buffer.from(text)), text).toBeUndefined()
  for (const name of Object.keys(operation))
    for (const value of [undefined, "\0", -1, 1.5, [1], { a: "b" }]) {
      const isText = typeof operation[name as keyof Operation] === "string"
      if (name === "target" || name === "ended" || (isText && value === "\0")) continue
      const damaged = Buffer.from(JSON.stringify({ ...operation, [name]: value }))
      expect(decodeOperation(damaged), `${name}: ${JSON.stringify(value)}`).toBeUndefined()
    }
})
