/** What kube-apiserver 1.36 said of configurations, and which provider each resource got from it. */

import { readFileSync } from "node:fs"
import { expect, test } from "vitest"
import {
  parseEncryptionConfiguration,
  providersFor,
} from "../../src/config/encryption-configuration.ts"
import { isKnown } from "../../src/errors.ts"
import { openStored } from "../../src/providers/transform.ts"
import { sharedPath } from "../shared.ts"

const read = (file: string): unknown =>
  JSON.parse(readFileSync(sharedPath("vectors", file), "utf8"))

interface Mistaken {
  file: string
  text: string
  result: { configError: string } | { data: string; stale: boolean }
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
  } else {
    const providers = providersFor(parse(), "secrets")
    if (result.data === "") expect(providers.map(({ prefix }) => prefix.length)).toEqual([0, 0])
    else {
      const stored = Buffer.from(result.data, "base64")
      expect(openStored(providers, stored, "").stale).toBe(result.stale)
    }
  }
})

const RESOURCES: Record<string, string> = {
  "wildcard-core": "*.",
  "wildcard-all": "*.*",
  aesgcm32: "secrets",
}

interface Wildcard {
  config: string
  resource: string
  prefix: string
}

test.each(read("wildcards.json") as Wildcard[])(
  "$config: $resource",
  ({ config, resource, prefix }) => {
    const name = RESOURCES[config]
    expect(name).toBeDefined()
    const text = `
    {apiVersion: apiserver.config.k8s.io/v1, kind: EncryptionConfiguration, resources: [
      {resources: ["${name}"], providers: [{aesgcm: {keys: [{name: key1, secret: JSwzOkFIT1ZdZGtyeYCHjg==}]}}, {identity: {}}]}]}`
    const [writer] = providersFor(parseEncryptionConfiguration(text, { file: config }), resource)
    const stored = writer?.seal(Buffer.from("hello"), "/registry/x").toString("latin1") ?? ""
    expect(stored.slice(0, prefix.length)).toBe(prefix)
  },
)
