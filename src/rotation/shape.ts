/** What a record that is not sealed must look like to be believed: it lies where others can write too. */
import { isRecord } from "../format/schema.ts"

type Fits = (value: unknown) => boolean

export const isText: Fits = (value) => typeof value === "string"
export const isCount: Fits = (value) => Number.isSafeInteger(value) && Number(value) >= 0
export const isTexts: Fits = (value) => Array.isArray(value) && value.every(isText)
export const isCounts: Fits = (value) => isRecord(value) && Object.values(value).every(isCount)
export const orNull =
  (fits: Fits): Fits =>
  (value) =>
    value === null || fits(value)
export const oneOf =
  (values: readonly unknown[]): Fits =>
  (value) =>
    values.includes(value)

/** By field. */
export type Shape<T> = Readonly<Record<keyof T, Fits>>

export const hasShape = <T>(shape: Shape<T>, value: unknown): value is T =>
  isRecord(value) && Object.entries<Fits>(shape).every(([name, fits]) => fits(value[name]))

/** Undefined where it is no JSON. */
export function parsed(stored: Buffer): unknown {
  try {
    return JSON.parse(stored.toString())
  } catch (error) {
    if (error instanceof SyntaxError) return undefined
    throw error
  }
}
