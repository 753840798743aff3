import { expect, test } from "vitest"
import { refuseVacuum } from "./vacuum.ts"

test("--vacuum is refused where the database's file is another program's", () => {
  refuseVacuum("sqlite")
  for (const engine of ["etcd", "postgres", "mysql"] as const)
    expect(() => refuseVacuum(engine)).toThrow(
      expect.objectContaining({
        code: "UsageInvalid",
        message: expect.stringMatching(
          /^--vacuum is for SQLite, and this is (etcd|PostgreSQL|Maria)/,
        ),
      }),
    )
})
