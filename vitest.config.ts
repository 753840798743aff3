import { defineConfig } from "vitest/config"
import { ClosingLine } from "./tools/closing-line.ts"

/** unit: fast, on every `npm run check`. system: real servers, processes and programs, one file at a time. */
export default defineConfig({
  test: {
    reporters: ["default", new ClosingLine()],
    projects: [
      {
        extends: true,
        test: {
          name: "unit",
          include: ["src/**/*.test.ts", "tools/**/*.test.ts", "tests/vectors/**/*.test.ts"],
          // None takes as many milliseconds; the machine may be busy with other things.
          testTimeout: 60_000,
        },
      },
      {
        extends: true,
        test: {
          name: "system",
          include: ["tests/**/*.test.ts"],
          exclude: ["tests/vectors/**"],
          setupFiles: ["tests/harness/setup.ts"],
          fileParallelism: false,
          testTimeout: 60_000,
          hookTimeout: 60_000,
        },
      },
    ],
  },
})
