/** The embedded etcd in the life of a server. */
import { existsSync } from "node:fs"
import type { DataDirPaths } from "../cluster/data-dir.ts"
import type { EmbeddedEtcd } from "../cluster/embedded-etcd.ts"
import { readMember, settleMoved } from "../cluster/etcd-member.ts"
import {
  promoteLearners,
  removeMembers,
  removeWithNode,
  type TendParts,
} from "../cluster/tend-members.ts"
import { ERRORS, isKnown, KnownError } from "../errors.ts"
import { type Background, CERTIFICATES_EVERY_MS } from "./background.ts"
import type { ServerOptions } from "./options.ts"
import type { ServerContext } from "./server.ts"

/** Undefined where the datastore is another. */
export async function startEmbedded(
  context: ServerContext,
  paths: DataDirPaths,
): Promise<EmbeddedEtcd | undefined> {
  const { options } = context
  const { datastore, clusterInit, server } = options
  if (datastore.kind !== "sqlite" || datastore.path !== paths.state) return undefined
  const isMember = existsSync(paths.etcd.member)
  if (!isMember && !clusterInit && server === null) {
    refuseForgotten(paths)
    return undefined
  }
  if (isMember && server !== null) refuseFounder(paths, server)
  if (isMember || server !== null) refuseSecond(paths)
  else {
    const { moveToEtcd } = await import("../cluster/move-to-etcd.ts")
    await moveToEtcd({ ...context, paths })
  }
  const { startEtcd } = await import("../cluster/embedded-etcd.ts")
  return startEtcd({ ...context, paths })
}

/** A restore that was killed before its last step is brought to its end. */
export function settleRestore({ log, now }: ServerContext, paths: DataDirPaths): void {
  const kept = settleMoved(paths, { now: now() })
  if (kept !== null)
    log.warn({ kept }, "a restore that was cut short has come to its end; what it replaced is kept")
}

/** Gives the place back that the others have just given to a server which cannot start among them, for the reason in `error`. */
export async function leaveAgain(
  { isNew, member, members }: EmbeddedEtcd,
  { error, log }: { readonly error: unknown } & Pick<ServerContext, "log">,
): Promise<void> {
  if (!isNew || !isKnown(error) || ERRORS[error.code].again === "retry") return
  try {
    const own = (await members.list()).filter(({ name }) => name === member.name)
    await removeMembers(members, own)
  } catch (err) {
    if (!isKnown(err)) throw err
    log.warn({ err, member: member.name }, "this server's place in etcd could not be given back")
  }
}

/** Says what is to be done next. */
export async function reset(context: ServerContext, paths: DataDirPaths): Promise<void> {
  const { say, command, options } = context
  const { resetCluster } = await import("../cluster/reset.ts")
  if (!(await resetCluster({ ...context, paths }))) return
  say("this server's etcd is the only member of its cluster now")
  say("start it again with the flags that it had, without --cluster-reset and --server")
  for (const line of joiningAgain(command, options)) say(line)
}

/** What is to be done on all servers but the one that is the cluster now. */
export const joiningAgain = (
  command: string,
  { httpsListenPort }: Pick<ServerOptions, "httpsListenPort">,
): string[] => [
  "then, on each of the others, move <data-dir>/server/db/etcd away and join:",
  `  ${command} server --server https://<this server>:${httpsListenPort} --token-file <file>`,
]

/** A member whose data is gone must not begin anew on its own. */
function refuseForgotten({ etcd, state }: DataDirPaths): void {
  if (existsSync(state) || !existsSync(etcd.serverCa.cert)) return
  if (existsSync(etcd.unfinished.data))
    throw new KnownError(
      "UsageInvalid",
      `a move to etcd was cut short here, and its database, ${state}, is gone since: bring it back`,
    )
  throw new KnownError(
    "UsageInvalid",
    `this server was a member of an etcd cluster, and ${etcd.member} is gone: join again with --server and --token`,
  )
}

/** Whoever joined may be told again where; another would serve what it has, where the others' was asked for. */
function refuseFounder({ etcd }: DataDirPaths, server: string): void {
  if (readMember(etcd)?.isFirst !== true) return
  throw new KnownError(
    "UsageInvalid",
    `this server's etcd is a cluster of its own, which began here: start without --server, or move ${etcd.data} away to join that of ${server}`,
  )
}

/** Nobody can say which of two datastores is the true one. */
function refuseSecond({ state, etcd }: DataDirPaths): void {
  if (!existsSync(state)) return
  throw new KnownError(
    "UsageInvalid",
    existsSync(etcd.member)
      ? `there is a database, ${state}, beside the embedded etcd in ${etcd.data}: move the one away that is not to be used`
      : `this server has a database of its own, ${state}: move it away, for who joins takes the others' data`,
  )
}

/** What goes on in the background while it serves. */
export function tendEmbedded(
  { members, renew }: EmbeddedEtcd,
  {
    background,
    ...of
  }: Pick<TendParts, "store" | "log" | "monotonicMs"> & { background: Background },
): void {
  const parts = { ...of, members }
  background.run("giving voices", (signal) => promoteLearners({ ...parts, signal }))
  background.run("removing members", (signal) => removeWithNode({ ...parts, signal }))
  background.every("etcd's certificates", CERTIFICATES_EVERY_MS, async () => {
    for (const sentence of await renew()) of.log.info({}, sentence)
  })
}
