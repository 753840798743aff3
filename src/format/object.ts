/** Kubernetes objects as the API shows them in JSON: bytes are standard base64, times RFC 3339. Shapes only. */

export interface OwnerReference {
  apiVersion: string
  kind: string
  name: string
  uid: string
  controller?: boolean
  blockOwnerDeletion?: boolean
}

export interface ManagedFieldsEntry {
  manager?: string
  operation?: "Apply" | "Update"
  apiVersion?: string
  time?: string
  fieldsType?: "FieldsV1"
  fieldsV1?: Record<string, unknown>
  subresource?: string
}

export interface ObjectMeta {
  name?: string
  generateName?: string
  namespace?: string
  uid?: string
  resourceVersion?: string
  generation?: number
  creationTimestamp?: string | null
  deletionTimestamp?: string
  deletionGracePeriodSeconds?: number
  labels?: Record<string, string>
  annotations?: Record<string, string>
  ownerReferences?: OwnerReference[]
  finalizers?: string[]
  managedFields?: ManagedFieldsEntry[]
}

export interface KubeObject {
  kind: string
  apiVersion: string
  metadata: ObjectMeta
  [field: string]: unknown
}

export interface Secret extends KubeObject {
  data?: Record<string, string>
  type?: string
  immutable?: boolean
}
