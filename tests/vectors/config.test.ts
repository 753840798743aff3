/** What kube-apiserver 1.36 said of configurations, and which resources it encrypted by them. */

import { readFileSync } from "node:fs"
import { expect, test } from "vitest"
import { parseEncryptionConfiguration } from "../../src/config/encryption-configuration.ts"
import { includesResource } from "../../src/config/resources.ts"
import { isKnown } from "../../src/errors.ts"
import { sharedPath } from "../shared.ts"

const read = (file: string): unknown =>
  JSON.parse(readFileSync(sharedPath("vectors", file), "utf8"))

interface Mistaken {
  file: string
  text: string
  result: { configError: string } | object
}

/** Kubernetes prints the secrets of an element with two providers; no message of ours holds key bytes. */
const withoutSecrets = (message: string) =>
  message.replace(/"Secret":"[^"]*"/g, '"Secret":"REDACTED"')

test.each(read("config-errors.json") as Mistaken[])("$file", ({ file, text, result }) => {
  const parse = () => parseEncryptionConfiguration(text, { file })
  if ("configError" in result) {
    let error: unknown
    try {
      parse()
    } catch (thrown) {
      error = thrown
    }
    expect(isKnown(error, "ConfigInvalid") && error.message).toBe(
      withoutSecrets(result.configError),
    )
  } else expect(parse().resources).not.toEqual([])
})

/** What each recorded configuration encrypts. */
const RESOURCES: Record<string, string> = {
  "wildcard-core": "*.",
  "wildcard-all": "*.*",
  aesgcm32: "secrets",
}

/** `prefix` is what the stored "hello" of a resource began with. */
interface Wildcard {
  config: string
  resource: string
  prefix: string
}

test.each(read("wildcards.json") as Wildcard[])(
  "$config: $resource",
  ({ config, resource, prefix }) => {
    const list = [RESOURCES[config] ?? "unknown"]
    expect(includesResource(list, resource)).toBe(prefix !== "hello")
  },
)
