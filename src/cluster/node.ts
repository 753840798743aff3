/** A server's Node object: how other servers and people see it, and where its hash is shown. */
import { randomUUID } from "node:crypto"
import { isKnown } from "../errors.ts"
import type { KubeObject } from "../format/object.ts"
import { toTime } from "../format/time.ts"
import type { Registry, Stored } from "../registry/registry.ts"
import { type Kind, NODES_PREFIX, type Ref, storageKey } from "../registry/resource.ts"

/** K3s shows the same text in `k3s.io/encryption-config-hash`. */
const HASH_ANNOTATION = "keyturn.io/encryption-config-hash"
const CONTROL_PLANE_LABEL = "node-role.kubernetes.io/control-plane"

const NODES: Kind = { storagePrefix: NODES_PREFIX }

export interface NodeFacts {
  readonly name: string
  readonly addresses: readonly {
    readonly type: "InternalIP" | "Hostname"
    readonly address: string
  }[]
  readonly version: string
  readonly os: { readonly platform: string; readonly arch: string; readonly release: string }
}

interface Shown {
  /** Undefined: nothing is configured. */
  readonly hash: string | undefined
  readonly now: Date
}

/** What this file reads and writes of a Node's status. */
interface NodeStatus {
  readonly addresses?: NodeFacts["addresses"]
  readonly nodeInfo?: { readonly machineID?: string }
  readonly conditions?: readonly Condition[]
}

interface Node extends KubeObject {
  status?: NodeStatus
}

interface Condition {
  type: string
  status: string
  reason?: string
  message?: string
  lastHeartbeatTime?: string
  lastTransitionTime?: string
}

/** The Node as it should be now. What somebody else wrote into it stays; ours are a label, an annotation and the Ready
 *  condition; addresses and nodeInfo too where no kubelet has written its own. */
function nodeAs(before: Node | undefined, facts: NodeFacts, { hash, now }: Shown): Node {
  const base = before ?? newNode(facts, now)
  const { [HASH_ANNOTATION]: _, ...annotations } = base.metadata.annotations ?? {}
  return {
    ...base,
    metadata: {
      ...base.metadata,
      labels: { ...base.metadata.labels, [CONTROL_PLANE_LABEL]: "true" },
      annotations: hash === undefined ? annotations : { ...annotations, [HASH_ANNOTATION]: hash },
    },
    status: withReady(
      isKubelets(base) ? base.status : { ...base.status, ...ownStatus(facts) },
      now,
    ),
  }
}

/** A kubelet always knows its machine. */
function isKubelets({ status = {} }: Node): boolean {
  return (status.nodeInfo?.machineID ?? "") !== ""
}

function newNode({ name, os }: NodeFacts, now: Date): Node {
  const labels = {
    "kubernetes.io/arch": os.arch,
    "kubernetes.io/hostname": name,
    "kubernetes.io/os": os.platform,
  }
  return {
    kind: "Node",
    apiVersion: "v1",
    metadata: { name, uid: randomUUID(), creationTimestamp: toTime(now), labels },
    spec: {},
  }
}

function ownStatus({ addresses, version, os }: NodeFacts): NodeStatus {
  const nodeInfo = {
    machineID: "",
    systemUUID: "",
    bootID: "",
    kernelVersion: os.release,
    osImage: "",
    containerRuntimeVersion: "",
    kubeletVersion: version,
    kubeProxyVersion: "",
    operatingSystem: os.platform,
    architecture: os.arch,
  }
  return { addresses, nodeInfo }
}

function withReady(status: NodeStatus = {}, now: Date): NodeStatus {
  const { conditions = [] } = status
  const before = conditions.find(({ type }) => type === "Ready")
  const ready: Condition = {
    type: "Ready",
    status: "True",
    reason: "KeyturnServing",
    message: "keyturn is serving",
    lastHeartbeatTime: toTime(now),
    lastTransitionTime:
      before?.status === "True" && before.lastTransitionTime
        ? before.lastTransitionTime
        : toTime(now),
  }
  const others = conditions.filter(({ type }) => type !== "Ready")
  return { ...status, conditions: [...others, ready] }
}

/** Writes the own Node, against any other writer. */
export async function writeNode(registry: Registry, facts: NodeFacts, shown: Shown): Promise<void> {
  for (;;) {
    try {
      const stored = await readable(registry, { name: facts.name })
      const node = nodeAs(stored?.object, facts, shown)
      await (stored ? registry.replace(stored, node) : registry.create(NODES, facts, node))
      return
    } catch (error) {
      if (!isKnown(error, "Conflict", "AlreadyExists")) throw error
    }
  }
}

/** A Node that does not open is deleted: all that is ours in it can be made anew, and it would keep the server from starting. */
async function readable(registry: Registry, ref: Ref): Promise<Stored | undefined> {
  try {
    return await registry.get(NODES, ref)
  } catch (error) {
    if (!isKnown(error, "ValueCorrupt", "KeyDidNotOpen", "ObjectInvalid")) throw error
    const revision = await registry.revisionOf(NODES, ref)
    if (revision !== undefined) await registry.remove({ key: storageKey(NODES, ref), revision })
    return undefined
  }
}

/** Each control-plane Node's name and the hash text that it shows; Nodes that show none are left out, as K3s leaves them. */
export async function shownHashes(registry: Registry): Promise<{ name: string; hash: string }[]> {
  const { items } = await registry.list(NODES, {})
  return items
    .map(({ object }: Stored) => object.metadata)
    .flatMap(({ name, labels, annotations }) => {
      const hash = annotations?.[HASH_ANNOTATION]
      return labels?.[CONTROL_PLANE_LABEL] === "true" && hash !== undefined
        ? [{ name: name ?? "", hash }]
        : []
    })
}

/** K3s' sentence about the first two servers that differ; undefined where all hashes match. */
export function hashMismatch(shown: readonly { name: string; hash: string }[]): string | undefined {
  const [first, ...others] = shown
  const other = others.find(({ hash }) => hash !== first?.hash)
  return other && `hash does not match between ${first?.name} and ${other.name}`
}
