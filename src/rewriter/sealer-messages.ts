/** What a sealer and its thread tell each other. */
import type { Unreadable } from "../rotation/operation.ts"

export type Asked = readonly { readonly key: string; readonly expected: Uint8Array }[]

/** To each that was asked, in order: what is to stand in its place, or why it stays. */
export type Answered = readonly (Uint8Array | Unreadable)[]

/** `all` in one buffer, to be handed over whole: that is quicker than to hand over each. */
export function gathered(all: readonly Uint8Array[]): {
  views: Uint8Array[]
  buffer: ArrayBuffer
} {
  const buffer = new ArrayBuffer(all.reduce((sum, { length }) => sum + length, 0))
  let end = 0
  const views = all.map((bytes) => {
    const view = new Uint8Array(buffer, end, bytes.length)
    view.set(bytes)
    end += bytes.length
    return view
  })
  return { views, buffer }
}

/** What arrives is no Buffer any more. */
export const asBuffer = ({ buffer, byteOffset, length }: Uint8Array): Buffer =>
  Buffer.from(buffer, byteOffset, length)
