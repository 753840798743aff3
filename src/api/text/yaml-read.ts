/** YAML as Kubernetes reads it: YAML 1.1, turned into what the same document in JSON would be. */

import { isScalar, LineCounter, parseDocument, visit } from "yaml"
import type { ScalarTag, Tags, YAMLMap } from "yaml"
import { GoJsonError, type ParsedJson } from "./go-json.ts"
import { goQuote } from "./go-text.ts"

export interface ParsedYaml extends ParsedJson {
  /** What a strict reader objects to: keys that a map has twice. */
  readonly problems: readonly string[]
}

/** Timestamps and binary stay the text that they are. */
const NOT_IN_JSON = ["tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:binary"]

/** The library takes a lone "." for a number. */
const isLoneDotFloat = (tag: Tags[number]): tag is ScalarTag =>
  typeof tag !== "string" && "test" in tag && tag.test?.test(".")
const FLOAT = /^[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)$/

/** Throws {@link GoJsonError}. */
export function parseYaml(text: string): ParsedYaml {
  const lines = new LineCounter()
  const document = parseDocument(text, {
    version: "1.1",
    customTags: (tags) =>
      tags
        .filter((tag) => typeof tag === "string" || !NOT_IN_JSON.includes(tag.tag))
        .map((tag) => (isLoneDotFloat(tag) ? { ...tag, test: FLOAT } : tag)),
    lineCounter: lines,
    prettyErrors: false,
    uniqueKeys: false,
    logLevel: "silent",
  })
  const error = document.errors[0]
  if (error !== undefined) {
    const { line } = lines.linePos(error.pos[0])
    throw new GoJsonError(`error converting YAML to JSON: yaml: line ${line}: ${error.message}`)
  }
  return {
    value: resolved(document),
    duplicates: new Map(),
    problems: duplicateKeys(document, lines),
  }
}

/** The library looks through the whole document for each alias. No object has nearly as many. */
const ALIASES_MAX = 100

/** Throws {@link GoJsonError} for aliases that name nothing, and for those that make more of the document than it is. */
function resolved(document: ReturnType<typeof parseDocument>): unknown {
  let aliases = 0
  visit(document, { Alias: () => void aliases++ })
  if (aliases > ALIASES_MAX)
    throw new GoJsonError(
      "error converting YAML to JSON: yaml: document contains excessive aliasing",
    )
  try {
    return document.toJS({ mapAsMap: false }) ?? null
  } catch (error) {
    if (!(error instanceof ReferenceError)) throw error
    throw new GoJsonError(`error converting YAML to JSON: yaml: ${error.message}`)
  }
}

function duplicateKeys(document: ReturnType<typeof parseDocument>, lines: LineCounter): string[] {
  const found: string[] = []
  visit(document, {
    Map(_, map: YAMLMap) {
      const seen = new Set<string>()
      for (const { key } of map.items) {
        if (!isScalar(key)) continue
        const name = String(key.value)
        const { line } = lines.linePos(key.range?.[0] ?? 0)
        if (seen.has(name)) found.push(`line ${line}: key ${goQuote(name)} already set in map`)
        seen.add(name)
      }
    },
  })
  return found.length === 0 ? [] : [`yaml: unmarshal errors:\n  ${found.join("\n  ")}`]
}
