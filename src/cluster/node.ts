/** A server's Node object: how other servers and people see it, and where its hash is shown. */
import { randomUUID } from "node:crypto"
import { isKnown } from "../errors.ts"
import type { KubeObject } from "../format/object.ts"
import { toTime } from "../format/time.ts"
import type { Registry, Stored } from "../registry/registry.ts"
import { type Kind, NODES_PREFIX } from "../registry/resource.ts"
import { isUnreadable } from "../registry/view.ts"
import { step } from "../step.ts"
import { removeObject, writeOwn } from "./own-object.ts"

/** K3s shows the same text in `k3s.io/encryption-config-hash`. */
const HASH_ANNOTATION = "keyturn.io/encryption-config-hash"
const CONTROL_PLANE_LABEL = "node-role.kubernetes.io/control-plane"

/** Of the Ready condition, while the server says it. */
const OWN_REASON = "KeyturnServing"

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
      isReady(readyOf(base.status), now),
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

function isReady(before: Condition | undefined, now: Date): Condition {
  return {
    type: "Ready",
    status: "True",
    reason: OWN_REASON,
    message: "keyturn is serving",
    lastHeartbeatTime: toTime(now),
    lastTransitionTime:
      before?.status === "True" && before.lastTransitionTime
        ? before.lastTransitionTime
        : toTime(now),
  }
}

const readyOf = ({ conditions = [] }: NodeStatus = {}): Condition | undefined =>
  conditions.find(({ type }) => type === "Ready")

function withReady(status: NodeStatus = {}, ready: Condition): NodeStatus {
  const others = (status.conditions ?? []).filter(({ type }) => type !== "Ready")
  return { ...status, conditions: [...others, ready] }
}

/** Writes the own Node, against any other writer. */
export async function writeNode(registry: Registry, facts: NodeFacts, shown: Shown): Promise<void> {
  const make = (before: Node | undefined) => nodeAs(before, facts, shown)
  await step("node", () => writeOwn(registry, { kind: NODES, ref: { name: facts.name }, make }))
}

/** A server as its Node shows it. */
export interface ServerNode {
  readonly name: string
  /** Undefined where it shows none. */
  readonly hash: string | undefined
  readonly ready: boolean
  /** Whether another server said that nothing is heard of it. */
  readonly isGone: boolean
  /** Whether its server says so itself: a kubelet's word is not ours to change. */
  readonly isOwnWord: boolean
  readonly stored: Stored
}

/** Every control-plane Node that opens: a server that lives makes its own anew where it does not. */
export async function serverNodes(registry: Registry): Promise<ServerNode[]> {
  const { items } = await registry.list(NODES, { leavesOut: true })
  return items
    .filter(({ object }) => object.metadata.labels?.[CONTROL_PLANE_LABEL] === "true")
    .map(serverNode)
}

function serverNode(stored: Stored): ServerNode {
  const { metadata, status }: Node = stored.object
  const ready = readyOf(status)
  return {
    name: metadata.name ?? "",
    hash: metadata.annotations?.[HASH_ANNOTATION],
    ready: ready?.status === "True",
    isGone: ready?.status === "Unknown",
    isOwnWord: ready?.reason === OWN_REASON,
    stored,
  }
}

/** How the server's own Node stands. `gone`: another says that nothing is heard of it, or it does not open. */
export async function ownNode(
  registry: Registry,
  name: string,
): Promise<"shown" | "gone" | "deleted"> {
  try {
    const stored = await registry.get(NODES, { name })
    if (stored === undefined) return "deleted"
    return serverNode(stored).isGone ? "gone" : "shown"
  } catch (error) {
    if (!isUnreadable(error)) throw error
    return "gone"
  }
}

/** Says of a server's Node, as kube-controller-manager does, that nothing is heard of it. False where somebody else wrote the
 *  Node meanwhile. */
export async function markUnknown(
  registry: Registry,
  { stored }: ServerNode,
  now: Date,
): Promise<boolean> {
  const node: Node = stored.object
  const gone = {
    ...readyOf(node.status),
    type: "Ready",
    status: "Unknown",
    reason: "NodeStatusUnknown",
    message: "keyturn stopped posting node status.",
    lastTransitionTime: toTime(now),
  }
  try {
    await registry.replace(stored, { ...node, status: withReady(node.status, gone) })
    return true
  } catch (error) {
    if (isKnown(error, "Conflict")) return false
    throw error
  }
}

/** Each server's name and the hash text that it shows. Left out are those that show none, as K3s does, and those of which
 *  nothing is heard: no server waits for one that is gone. */
export const shownHashes = async (registry: Registry): Promise<{ name: string; hash: string }[]> =>
  (await serverNodes(registry)).flatMap(({ name, hash, isGone }) =>
    hash === undefined || isGone ? [] : [{ name, hash }],
  )

/** K3s' sentence about the first two servers that differ; undefined where all hashes match. */
export function hashMismatch(shown: readonly { name: string; hash: string }[]): string | undefined {
  const [first, ...others] = shown
  const other = others.find(({ hash }) => hash !== first?.hash)
  return other && `hash does not match between ${first?.name} and ${other.name}`
}

/** Deletes it, whatever it holds now. */
export const removeNode = (registry: Registry, name: string): Promise<void> =>
  removeObject(registry, NODES, { name })
