/** Calls of etcd that read and write keys, for whoever has a channel: the store, and what rewrites beside it. */
import { type CallOptions, EtcdChannel } from "./etcd-channel.ts"
import { FENCE } from "./etcd-keys.ts"
import {
  type Compare,
  decodeRanged,
  decodeTxn,
  encodeRange,
  encodeTxn,
  type RangeAsked,
  type Ranged,
  type Txn,
  type TxnAnswer,
} from "./etcd-messages.ts"
import { type TlsFiles, tlsOf } from "./tls-files.ts"

export interface EtcdAddress {
  /** Origins such as `https://host:2379`. */
  readonly endpoints: readonly string[]
  readonly tls?: TlsFiles
}

/** Connects at the first call. */
export const channelTo = ({ endpoints, tls }: EtcdAddress): EtcdChannel =>
  new EtcdChannel({ endpoints, ...(tls && { tls: tlsOf(tls, "etcd") }) })

/** Throws IsFuture and WasCompacted, which nobody else knows, where it cannot be read at the revision that was asked for. */
export async function range(
  channel: EtcdChannel,
  asked: RangeAsked,
  options: CallOptions = {},
): Promise<Ranged> {
  const [method, message] = ["/etcdserverpb.KV/Range", encodeRange(asked)]
  return decodeRanged(await channel.call(method, message, { isRepeatable: true, ...options }))
}

export const txn = async (
  channel: EtcdChannel,
  asked: Txn,
  options?: CallOptions,
): Promise<TxnAnswer> =>
  decodeTxn(await channel.call("/etcdserverpb.KV/Txn", encodeTxn(asked), options))

/** That the fence is as expected; null: that there is none; undefined: nothing. */
export const compareFence = (expected: string | null | undefined): Compare[] => {
  if (expected === undefined) return []
  return [expected === null ? { key: FENCE, modified: 0 } : { key: FENCE, value: expected }]
}
