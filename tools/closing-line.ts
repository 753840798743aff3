/** The last line of a test run, `N passed, N failed, N skipped`, after the reason of every skip. With CI=true a skip fails the run:
 *  a machine that checks everything has every program that the tests need. */

import type { Reporter, TestModule } from "vitest/node"

export class ClosingLine implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandledErrors: readonly unknown[]): void {
    const tests = modules.flatMap((module) => [...module.children.allTests()])
    const passed = tests.filter((test) => test.result().state === "passed").length
    const skipped = tests.filter((test) => test.result().state === "skipped")
    // A file that does not load, a hook that throws, and an error outside of any test count as one failure each.
    const suites = modules.flatMap((module) => [module, ...module.children.allSuites()])
    const broken = suites.filter((suite) => suite.errors().length > 0).length
    const failed = tests.length - passed - skipped.length + broken + unhandledErrors.length

    for (const test of skipped) {
      const result = test.result()
      const note = result.state === "skipped" ? result.note : undefined
      console.log(`skipped: ${test.fullName}: ${note ?? "no reason given"}`)
    }
    if (process.env["CI"] === "true" && skipped.length > 0) {
      console.log("with CI=true a skipped test is a failure")
      process.exitCode = 1
    }
    console.log(`${passed} passed, ${failed} failed, ${skipped.length} skipped`)
  }
}
