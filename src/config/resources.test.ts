import { expect, test } from "vitest"
import { includesResource } from "./resources.ts"

test.each([
  [["secrets"], "secrets", true],
  [["secrets."], "secrets", true],
  [["secrets"], "secrets.example.com", false],
  [["*."], "secrets", true],
  [["*."], "deployments.apps", false],
  [["*.apps"], "deployments.apps", true],
  [["*.k8s.io"], "leases.coordination.k8s.io", false],
  [["*.*"], "leases.coordination.k8s.io", true],
  [[], "secrets", false],
] as const)("%j holds %s: %s", (list, name, held) => {
  expect(includesResource(list, name)).toBe(held)
})
