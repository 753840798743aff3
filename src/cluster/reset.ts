/** A cluster of which too few members are left begins again with one of them and all of its data. */
import { KnownError } from "../errors.ts"
import { type EmbeddedContext, startEtcd } from "./embedded-etcd.ts"
import { readMember, writeMember } from "./etcd-member.ts"

/** Makes this server's member the only one; done again it changes nothing. Returns whether it came to an end before the signal. */
export async function resetCluster(context: EmbeddedContext): Promise<boolean> {
  const { paths } = context
  const member = readMember(paths.etcd)
  if (member === null || member.cluster === null)
    throw new KnownError(
      "UsageInvalid",
      `--cluster-reset needs an embedded etcd, and there is no ${paths.etcd.member}`,
    )
  const etcd = await startEtcd(context, ["--force-new-cluster"])
  try {
    const store = await etcd.open()
    if (store === undefined) return false
    await store.close()
    const { name, peerUrl } = etcd.member
    writeMember(paths.etcd, { name, peerUrl, cluster: `${name}=${peerUrl}`, isFirst: true })
    return true
  } finally {
    await etcd.stop()
  }
}
