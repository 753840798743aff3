import { expect, test } from "vitest"
import { covers, namespaceOfKey, resourceOfKey } from "./resource.ts"

test.each([
  ["/registry/secrets/default/a", "secrets"],
  ["/registry/minions/node-1", "nodes"],
  ["/registry/services/specs/default/web", "services"],
  ["/registry/services/endpoints/default/web", "endpoints"],
  ["/registry/deployments/default/web", "deployments"],
  ["/registry/example.com/widgets/default/w", "widgets.example.com"],
  ["/registry/health", undefined],
  ["/bootstrap/02412513202b", undefined],
  ["compact_rev_key", undefined],
])("the resource at %s is %s", (key, resource) => {
  expect(resourceOfKey(key)).toBe(resource)
})

test.each([
  ["/registry/secrets/default/a", "default"],
  ["/registry/minions/node-1", ""],
  ["/registry/services/specs/default/web", "default"],
  ["/registry/example.com/widgets/default/w", "default"],
  ["/registry/example.com/widgets/w", ""],
  ["/registry/health", ""],
])("the namespace of %s is %j", (key, namespace) => {
  expect(namespaceOfKey(key)).toBe(namespace)
})

test.each([
  [["secrets"], "secrets", true],
  [["secrets"], "configmaps", false],
  [["*."], "configmaps", true],
  [["*."], "widgets.example.com", false],
  [["*.*"], "widgets.example.com", true],
  [["*.example.com"], "widgets.example.com", true],
  // Their keys do not show the group: only what is named, or everything, reaches them.
  [["*."], "deployments", false],
  [["*.apps"], "deployments", false],
  [["deployments.apps"], "deployments", true],
  [["*.*"], "deployments", true],
  [["*.*"], undefined, false],
] as const)("%j covers %s: %s", (list, resource, expected) => {
  expect(covers(list, resource)).toBe(expected)
})
