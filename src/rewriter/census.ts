/** How many stored byte strings (values and old values, of every row) are under which key. A census of nothing under a key is
 *  the proof that nothing needs it. */
import { setImmediate as turn } from "node:timers/promises"
import { hasPrefix } from "../format/value.ts"
import type { View } from "../registry/view.ts"
import type { Counts } from "../rotation/retire.ts"
import type { RowBatch, RowRange, Store } from "../store/store.ts"

const BATCH_ROWS = 500

/** Every stored row of a range, giving way to requests between batches. */
export async function* allRows(
  store: Store,
  range: RowRange,
  signal?: AbortSignal,
): AsyncGenerator<RowBatch> {
  for (let { cursor } = range; ; ) {
    signal?.throwIfAborted()
    const batch = await store.rows({ ...range, cursor, limit: BATCH_ROWS })
    if (batch.rows.length === 0) return
    yield batch
    cursor = batch.cursor
    await turn()
  }
}

/** Counts each stored byte string under every key of the view whose prefix fits, for a name may contain ':'. */
export async function census(store: Store, view: View, signal?: AbortSignal): Promise<Counts> {
  const names = view.record.keyring.keys.map(({ name }) => name)
  const prefixes = names.map((name) => ({ name, prefix: view.provider(name).prefix }))
  const counts = new Map(names.map((name) => [name, 0]))
  for await (const { rows } of allRows(store, { cursor: "" }, signal))
    for (const { value, previous } of rows)
      for (const stored of [value, previous])
        if (stored !== undefined)
          for (const { name, prefix } of prefixes)
            if (hasPrefix(stored, prefix)) counts.set(name, (counts.get(name) ?? 0) + 1)
  return counts
}
