/** What a rewrite compares; in a bug not all of it. */
export interface Compares {
  readonly bytes: boolean
  readonly fence: boolean
}

export const COMPARES_ALL: Compares = { bytes: true, fence: true }
