/** A store's create, update or delete as the one write that its engine makes. */
import type { Create, Delete, Update } from "./store.ts"

export interface EngineWrite {
  readonly kind: "create" | "update" | "delete"
  readonly key: string
  readonly fence: string | undefined
  /** 0 for a create. */
  readonly expected: number
  /** null for a delete. */
  readonly value: Buffer | null
  readonly ttlSeconds: number
}

export const creation = ({ key, fence, value, ttlSeconds = 0 }: Create): EngineWrite => {
  const bytes = Buffer.from(value)
  return { kind: "create", key, fence, expected: 0, value: bytes, ttlSeconds }
}

export const change = ({ key, fence, expected, value, ttlSeconds = 0 }: Update): EngineWrite => {
  const bytes = Buffer.from(value)
  return { kind: "update", key, fence, expected, value: bytes, ttlSeconds }
}

export const deletion = ({ key, fence, expected }: Delete): EngineWrite => ({
  kind: "delete",
  key,
  fence,
  expected,
  value: null,
  ttlSeconds: 0,
})
