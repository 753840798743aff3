import { expect, test } from "vitest"
import { KnownError } from "../errors.ts"
import { commitError, storeError } from "./sqlite-errors.ts"

const sqlite = (errcode: number): Error => Object.assign(new Error("as SQLite says"), { errcode })
const code = (error: unknown): unknown => (error instanceof KnownError ? error.code : error)

// errcode, while a transaction runs, at its commit
test.each([
  [5, "StoreUnavailable", "StoreUnavailable"], // SQLITE_BUSY
  [11, "StoreCorrupt", "StoreCorrupt"], // SQLITE_CORRUPT
  [13, "DiskFull", "DiskFull"], // SQLITE_FULL
  [778, "StoreUnavailable", "StoreUnavailable"], // SQLITE_IOERR_WRITE
  [1034, "StoreUnavailable", "OutcomeUnknown"], // SQLITE_IOERR_FSYNC
  [4874, "DiskFull", "OutcomeUnknown"], // SQLITE_IOERR_SHMSIZE
  [1290, "StoreUnavailable", "OutcomeUnknown"], // SQLITE_IOERR_DIR_FSYNC
])("SQLite's %i is %s, at a commit %s", (errcode, running, committing) => {
  expect(code(storeError("state.db", sqlite(errcode)))).toBe(running)
  expect(code(commitError("state.db", sqlite(errcode)))).toBe(committing)
})

test("a bug stays a bug", () => {
  const unique = sqlite(2067)
  const plain = new TypeError("undefined is not a function")
  for (const error of [unique, plain]) {
    expect(storeError("state.db", error)).toBe(error)
    expect(commitError("state.db", error)).toBe(error)
  }
})
