/** From the Accept header to the form of the answer: which media type, whether the object becomes a Table or
 *  metadata only, and whether people are to read it. RFC 9110 §12.5.1 with Kubernetes' parameters `as`, `g`, `v`. */

import { notAcceptable, unsupportedMediaType } from "../status.ts"

export const JSON_TYPE = "application/json"
export const YAML_TYPE = "application/yaml"
export const PROTOBUF_TYPE = "application/vnd.kubernetes.protobuf"

/** In order of preference where a client takes any. */
export const MEDIA_TYPES = [JSON_TYPE, YAML_TYPE, PROTOBUF_TYPE] as const
export type MediaType = (typeof MEDIA_TYPES)[number]

/** What the object is turned into before it is written. */
export interface Conversion {
  readonly kind: "Table" | "PartialObjectMetadata" | "PartialObjectMetadataList"
  readonly version: "v1" | "v1beta1"
}

export interface Representation {
  readonly mediaType: MediaType
  readonly conversion: Conversion | undefined
  /** Indented, and without a newline at the end. */
  readonly pretty: boolean
}

interface Clause {
  readonly type: string
  readonly parameters: ReadonlyMap<string, string>
  readonly quality: number
}

const CONVERSION_KINDS: readonly string[] = [
  "Table",
  "PartialObjectMetadata",
  "PartialObjectMetadataList",
] satisfies Conversion["kind"][]

function parseClause(text: string): Clause {
  const [type = "", ...rest] = text.split(";").map((part) => part.trim())
  const parameters = new Map(
    rest.map((part) => {
      const [name = "", ...value] = part.split("=")
      return [
        name.trim(),
        value
          .join("=")
          .trim()
          .replace(/^"(.*)"$/, "$1"),
      ]
    }),
  )
  const quality = Number(parameters.get("q") ?? 1)
  parameters.delete("q")
  return { type, parameters, quality: Number.isNaN(quality) ? 1 : quality }
}

const specificity = ({ type }: Clause): number => (type === "*/*" ? 0 : type.endsWith("/*") ? 1 : 2)

/** The clauses of an Accept header, best first; what is equally good keeps its order. */
export function parseAccept(accept: string): readonly Clause[] {
  const known = parsed.get(accept)
  if (known !== undefined) return known
  const clauses = accept
    .split(",")
    .map(parseClause)
    .filter(({ type }) => type !== "")
    .toSorted((a, b) => b.quality - a.quality || specificity(b) - specificity(a))
  if (parsed.size >= PARSED_MAX) parsed.clear()
  parsed.set(accept, clauses)
  return clauses
}

/** Clients send the same few headers again and again. */
const PARSED_MAX = 100
const parsed = new Map<string, readonly Clause[]>()

const covers = (range: string, mediaType: string): boolean =>
  range === "*/*" ||
  range === mediaType ||
  (range.endsWith("/*") && mediaType.startsWith(range.slice(0, -1)))

/** Undefined where the clause asks for a conversion that is not there, null where it asks for none. */
function conversionOf(parameters: Clause["parameters"]): Conversion | null | undefined {
  const [as, group, version] = ["as", "g", "v"].map((name) => parameters.get(name))
  if (as === undefined && group === undefined && version === undefined) return null
  if (group !== "meta.k8s.io" || (version !== "v1" && version !== "v1beta1")) return undefined
  if (as === undefined || !CONVERSION_KINDS.includes(as)) return undefined
  return { kind: as as Conversion["kind"], version }
}

/** What people's programs get without asking. */
const HUMAN_CLIENTS = ["curl", "Wget", "Mozilla/5.0"]

const isPretty = (asked: { pretty: string | null; userAgent: string }): boolean =>
  asked.pretty
    ? ["1", "t", "T", "TRUE", "true", "True"].includes(asked.pretty)
    : HUMAN_CLIENTS.some((client) => asked.userAgent.startsWith(client))

export interface Asked {
  readonly accept?: string | undefined
  readonly userAgent?: string | undefined
  readonly query: URLSearchParams
}

/** Throws 406. A conversion is JSON or YAML: protobuf has no Table here. */
export function negotiate({ accept = "", userAgent = "", query }: Asked): Representation {
  const pretty = isPretty({ pretty: query.get("pretty"), userAgent })
  if (accept === "") return { mediaType: JSON_TYPE, conversion: undefined, pretty }
  for (const { type, parameters } of parseAccept(accept)) {
    const stream = parameters.get("stream") || "watch"
    const conversion = conversionOf(parameters)
    if (conversion === undefined || stream !== "watch" || parameters.get("sv")) continue
    const mediaType = MEDIA_TYPES.find((candidate) => covers(type, candidate))
    if (mediaType === undefined || (conversion && mediaType === PROTOBUF_TYPE)) continue
    return {
      mediaType,
      conversion: conversion ?? undefined,
      pretty: pretty || parameters.get("pretty") === "1",
    }
  }
  throw notAcceptable(MEDIA_TYPES)
}

/** The version of aggregated discovery that the client prefers to the plain list; undefined where it prefers that. */
export function negotiateDiscovery(accept: string | undefined): "v2" | "v2beta1" | undefined {
  for (const { type, parameters } of parseAccept(accept ?? "")) {
    if (!covers(type, JSON_TYPE)) continue
    const version = parameters.get("v")
    if (parameters.get("as") === undefined) return undefined
    const isDiscovery =
      parameters.get("g") === "apidiscovery.k8s.io" &&
      parameters.get("as") === "APIGroupDiscoveryList"
    if (isDiscovery && (version === "v2" || version === "v2beta1")) return version
  }
  return undefined
}

/** The media type that a request body is in. Throws 415. */
export function bodyMediaType(contentType: string | undefined): MediaType {
  if (!contentType) return JSON_TYPE
  const type = contentType.split(";")[0]?.trim().toLowerCase()
  const found = MEDIA_TYPES.find((mediaType) => mediaType === type)
  if (found === undefined) throw unsupportedMediaType(MEDIA_TYPES)
  return found
}
