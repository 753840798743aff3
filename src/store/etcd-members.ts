/** The members of an etcd cluster (api/etcdserverpb/rpc.proto, service Cluster), asked of one of them. */
import { isKnown } from "../errors.ts"
import { channelTo, type EtcdAddress } from "./etcd-calls.ts"
import {
  bytes,
  decode,
  encode,
  type Field,
  int,
  long,
  readBytes,
  readInt,
} from "./etcd-messages.ts"

export interface Member {
  /** etcd's own 64 bits, as they stand in a message. */
  readonly id: Buffer
  /** "" until it was started for the first time. */
  readonly name: string
  readonly peerUrls: readonly string[]
  /** It follows, and has no voice yet. */
  readonly isLearner: boolean
}

export interface Members {
  list(): Promise<Member[]>
  /** The new one begins as a learner. Throws StoreUnavailable where etcd refuses. */
  addLearner(peerUrl: string): Promise<void>
  /** Returns whether it was in step with the others, and has a voice now. */
  promote(member: Member): Promise<boolean>
  /** Without a word where it was removed before. Throws StoreUnavailable where the others would be too few. */
  remove(member: Member): Promise<void>
  setPeerUrl(member: Member, peerUrl: string): Promise<void>
  close(): void
}

const METHOD = "/etcdserverpb.Cluster/Member"
const SAYS_NOT_FOUND = "member not found"
const SAYS_BEHIND = "in sync with leader"

export function openMembers(address: EtcdAddress): Members {
  const channel = channelTo(address)
  const call = (name: string, ...fields: readonly Field[]) =>
    channel.call(METHOD + name, encode(fields))
  return {
    list: async () => decodeMembers(await call("List", int(1, 1))),
    async addLearner(peerUrl) {
      await call("Add", bytes(1, peerUrl), int(2, 1))
    },
    promote: (member) =>
      call("Promote", idField(member)).then(
        () => true,
        (error: unknown) => {
          if (says(error, SAYS_BEHIND) || says(error, SAYS_NOT_FOUND)) return false
          throw error
        },
      ),
    async remove(member) {
      await call("Remove", idField(member)).catch((error: unknown) => {
        if (!says(error, SAYS_NOT_FOUND)) throw error
      })
    },
    async setPeerUrl(member, peerUrl) {
      await call("Update", idField(member), bytes(2, peerUrl))
    },
    close: () => channel.close(),
  }
}

const says = (error: unknown, words: string): boolean =>
  isKnown(error) && error.message.includes(words)

const idField = ({ id }: Member): Field => long(1, id)

function decodeMembers(message: Buffer): Member[] {
  const members: Member[] = []
  decode(message, "MemberListResponse", {
    2: (field) => members.push(decodeMember(readBytes(field))),
  })
  return members
}

function decodeMember(message: Buffer): Member {
  const member = {
    id: Buffer.alloc(0) as Buffer,
    name: "",
    peerUrls: [] as string[],
    isLearner: false,
  }
  decode(message, "Member", {
    1: (field) => {
      const start = field.position
      field.skip(message.length, "Member")
      member.id = message.subarray(start, field.position)
    },
    2: (field) => (member.name = readBytes(field).toString()),
    3: (field) => member.peerUrls.push(readBytes(field).toString()),
    5: (field) => (member.isLearner = readInt(field) === 1),
  })
  return member
}
