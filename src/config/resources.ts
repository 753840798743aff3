/** Which resources an EncryptionConfiguration means: names, and the wildcards `*.` (core), `*.<group>` and `*.*`. */

export interface GroupResource {
  readonly group: string
  readonly resource: string
}

/** From `deployments.apps`; no dot means the core group. */
export function parseGroupResource(name: string): GroupResource {
  const [resource = "", ...group] = name.split(".")
  return { resource, group: group.join(".") }
}

/** How Kubernetes writes it; `*.` is every resource of the core group. */
const nameOf = ({ group, resource }: GroupResource): string =>
  group === "" ? (resource === "*" ? "*." : resource) : `${resource}.${group}`

/** `secrets.` and `secrets` are the same resource. */
export const canonicalName = (name: string): string => nameOf(parseGroupResource(name))

/** The rules that can decide about a resource; the first of them that a configuration has does. */
function rulesFor(name: string): string[] {
  const { group } = parseGroupResource(name)
  return [canonicalName(name), nameOf({ group, resource: "*" }), "*.*"]
}

/** Whether a list of resources, as configurations have it, holds this one. */
export function includesResource(list: readonly string[], name: string): boolean {
  const names = list.map(canonicalName)
  return rulesFor(name).some((rule) => names.includes(rule))
}

/** Entries that can never decide, as a wildcard before them does, in Kubernetes' words. */
export function maskedMistakes(lists: readonly (readonly string[])[]): string[] {
  const earlier = new Set<string>()
  const mistakes: string[] = []
  for (const name of lists.flat().map(canonicalName)) {
    const [, ...wildcards] = rulesFor(name)
    const mask = wildcards.find((rule) => earlier.has(rule))
    if (mask) mistakes.push(`resource "${name}" is masked by earlier rule "${mask}"`)
    earlier.add(name)
  }
  return mistakes
}
