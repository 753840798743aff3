/** What `kubectl explain` says of each type and field, by the names of format's tables. The texts that kubectl's own output and
 *  the columns of `kubectl get` are compared by are Kubernetes' to the letter; the others say what keyturn makes of a field. */

const API_CONVENTIONS =
  "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md"
const CONCEPTS = "https://kubernetes.io/docs/concepts"

/** Of every object. */
export const API_VERSION =
  "APIVersion defines the versioned schema of this representation of an object. Servers should convert recognized schemas " +
  `to the latest internal value, and may reject unrecognized values. More info: ${API_CONVENTIONS}#resources`
export const KIND =
  "Kind is a string value representing the REST resource this object represents. Servers may infer this from the endpoint " +
  `the client submits requests to. Cannot be updated. In CamelCase. More info: ${API_CONVENTIONS}#types-kinds`
const METADATA = `Standard object's metadata. More info: ${API_CONVENTIONS}#metadata`
export const LIST_METADATA = `Standard list metadata. More info: ${API_CONVENTIONS}#types-kinds`

// biome-ignore format: a table
const DESCRIPTIONS: Readonly<Record<string, string>> = {
  "Secret": "Secret holds secret data of a certain type. The total bytes of the values in the Data field must be less than MaxSecretSize bytes.",
  "Secret.metadata": METADATA,
  "Secret.immutable": "Immutable, if set to true, ensures that data stored in the Secret cannot be updated (only object metadata can be modified). If not set to true, the field can be modified at any time. Defaulted to nil.",
  "Secret.data": "Data contains the secret data. Each key must consist of alphanumeric characters, '-', '_' or '.'. The serialized form of the secret data is a base64 encoded string, representing the arbitrary (possibly non-string) data value here. Described in https://tools.ietf.org/html/rfc4648#section-4",
  "Secret.stringData": "stringData allows specifying non-binary secret data in string form. It is provided as a write-only input field for convenience. All keys and values are merged into the data field on write, overwriting any existing values. The stringData field is never output when reading from the API.",
  "Secret.type": `Used to facilitate programmatic handling of secret data. More info: ${CONCEPTS}/configuration/secret/#secret-types`,

  "ObjectMeta": "ObjectMeta is what every stored object has: its name, its labels, and what the server keeps about it.",
  "ObjectMeta.name": `Name must be unique within a namespace. Is required when creating resources, although some resources may allow a client to request the generation of an appropriate name automatically. Name is primarily intended for creation idempotence and configuration definition. Cannot be updated. More info: ${CONCEPTS}/overview/working-with-objects/names#names`,
  "ObjectMeta.generateName": "A prefix from which the server makes a unique name where name is empty.",
  "ObjectMeta.namespace": "The namespace within which the name is unique; empty for kinds without namespaces. Cannot be updated.",
  "ObjectMeta.selfLink": "Not set any more.",
  "ObjectMeta.uid": "Unique in time and space: an object that is deleted and created again has another one. Set by the server.",
  "ObjectMeta.resourceVersion": "New at every change of the object. Opaque: compare it for equality only, and send it back unchanged so that an update fails where somebody else came first.",
  "ObjectMeta.generation": "Counts the changes of the desired state. Set by the server.",
  "ObjectMeta.creationTimestamp": `CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed to be set in happens-before order across separate operations. Clients may not set this value. It is represented in RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. More info: ${API_CONVENTIONS}#metadata`,
  "ObjectMeta.deletionTimestamp": "Set by the server when a delete waits for finalizers; the object is gone when the last of them is. Cannot be unset.",
  "ObjectMeta.deletionGracePeriodSeconds": "The seconds that the object has to end; set together with deletionTimestamp.",
  "ObjectMeta.labels": `Keys and values that objects are selected by. More info: ${CONCEPTS}/overview/working-with-objects/labels`,
  "ObjectMeta.annotations": `Keys and values that tools keep with an object; nothing is selected by them. More info: ${CONCEPTS}/overview/working-with-objects/annotations`,
  "ObjectMeta.ownerReferences": "The objects that this one depends on. At most one of them is its controller.",
  "ObjectMeta.finalizers": "Names of those who must do something before the object may go. While it is being deleted, entries can only be removed.",
  "ObjectMeta.managedFields": "Which fields each manager has set, for server-side apply. Kept by the server.",
  "OwnerReference": "OwnerReference names an object in the same namespace, or one without namespaces.",
  "OwnerReference.apiVersion": "API version of the owner.",
  "OwnerReference.kind": "Kind of the owner.",
  "OwnerReference.name": "Name of the owner.",
  "OwnerReference.uid": "UID of the owner.",
  "OwnerReference.controller": "Whether the owner is the controller of this object.",
  "OwnerReference.blockOwnerDeletion": "Whether the owner, deleted in the foreground, waits for this object.",
  "ManagedFieldsEntry": "ManagedFieldsEntry is the set of fields that one manager has set in one way.",
  "ManagedFieldsEntry.manager": "Who set the fields.",
  "ManagedFieldsEntry.operation": "How they were set: 'Apply' or 'Update'.",
  "ManagedFieldsEntry.apiVersion": "The version of the kind that the fields are named in.",
  "ManagedFieldsEntry.time": "When the manager last added a field or changed a value.",
  "ManagedFieldsEntry.fieldsType": "The form of fieldsV1: \"FieldsV1\".",
  "ManagedFieldsEntry.fieldsV1": "The fields, as a tree: f: a field, k: an element of a list by its keys, v: by its value, . the node itself.",
  "ManagedFieldsEntry.subresource": "The subresource through which they were set; empty for the object itself.",
  "FieldsV1": "FieldsV1 is a set of fields as a tree in JSON.",
  "ListMeta": "ListMeta is what every list has.",
  "ListMeta.selfLink": "Not set any more.",
  "ListMeta.resourceVersion": "The state that the list shows; a watch may begin there.",
  "ListMeta.continue": "Set where a limit left objects out: the same request with this token goes on.",
  "ListMeta.remainingItemCount": "How many objects the limit left out, where no selector made that unknown.",

  "Namespace": "Namespace provides a scope for Names. Use of multiple namespaces is optional.",
  "Namespace.metadata": METADATA,
  "Namespace.spec": "What is to become of the namespace.",
  "Namespace.status": "What has become of the namespace.",
  "NamespaceSpec": "NamespaceSpec is what is to become of a namespace.",
  "NamespaceSpec.finalizers": "Names that must be removed before the namespace may go.",
  "NamespaceStatus": "NamespaceStatus is what has become of a namespace.",
  "NamespaceStatus.phase": "Active, or Terminating from its deletion on.",
  "NamespaceStatus.conditions": "Why a namespace that is being deleted is still there.",
  "NamespaceCondition": "NamespaceCondition is one thing that is so or not so about a namespace.",

  "Node": "Node is a machine. keyturn has one for each of its servers.",
  "Node.metadata": METADATA,
  "Node.spec": "What the node is to be.",
  "Node.status": "What was last seen of the node.",
  "NodeSpec.podCIDR": "The address range of the node's pods.",
  "NodeSpec.podCIDRs": "The address ranges of the node's pods, the first of them podCIDR.",
  "NodeSpec.providerID": "The node's name at its cloud provider: <provider>://<id>.",
  "NodeSpec.unschedulable": "Whether new pods keep away from the node.",
  "NodeSpec.taints": "What keeps away pods that do not tolerate it.",
  "NodeStatus.addresses": "The addresses under which the node is reached.",
  "NodeStatus.capacity": "What the node has.",
  "NodeStatus.allocatable": "What of it pods may use.",
  "NodeStatus.conditions": "What is so or not so about the node.",
  "NodeStatus.nodeInfo": "What the node runs.",
  "NodeSystemInfo.kernelVersion": "Kernel Version reported by the node from 'uname -r' (e.g. 3.16.0-0.bpo.4-amd64).",
  "NodeSystemInfo.osImage": "OS Image reported by the node from /etc/os-release (e.g. Debian GNU/Linux 7 (wheezy)).",
  "NodeSystemInfo.containerRuntimeVersion": "ContainerRuntime Version reported by the node through runtime remote API (e.g. containerd://1.4.2).",
  "NodeSystemInfo.kubeletVersion": "Kubelet Version reported by the node.",

  "Event": "Event is a report of something that happened. It is kept for a limited time and says what it can; do not rely on it.",
  "Event.metadata": METADATA,
  "Event.involvedObject": "The object that this event is about.",
  "Event.reason": "Why it happened, in one word for machines.",
  "Event.message": "What happened, in words for people.",
  "Event.source": "The component reporting this event. Should be a short machine understandable string.",
  "Event.firstTimestamp": "The time at which the event was first recorded. (Time of server receipt is in TypeMeta.)",
  "Event.lastTimestamp": "The time at which the most recent occurrence of this event was recorded.",
  "Event.count": "The number of times this event has occurred.",
  "Event.type": "Normal or Warning.",
  "Event.eventTime": "When it was first observed.",
  "Event.series": "How often it happened since, where it goes on happening.",
  "Event.action": "What was done or failed.",
  "Event.related": "A second object that it is about.",
  "Event.reportingComponent": "The controller that reports it.",
  "Event.reportingInstance": "The instance of that controller.",
  "ObjectReference": "ObjectReference names an object, or a part of one.",
  "ObjectReference.fieldPath": "The part of the object, where it is not about the whole: spec.containers{name}.",

  "Status": "Status is what an operation that returns no object returns.",
  "Status.metadata": LIST_METADATA,
  "Status.status": "\"Success\" or \"Failure\".",
  "Status.message": "What happened, in words for people.",
  "Status.reason": "Why it failed, in one word for machines.",
  "Status.details": "The object, and the fields, that it is about.",
  "Status.code": "The HTTP status code.",
  "DeleteOptions": "DeleteOptions says how an object is to be deleted.",
  "DeleteOptions.gracePeriodSeconds": "The seconds that the object has to end; keyturn's kinds need none.",
  "DeleteOptions.preconditions": "What must hold of the object; otherwise it stays and the answer is 409.",
  "DeleteOptions.orphanDependents": "The old form of propagationPolicy.",
  "DeleteOptions.propagationPolicy": "What becomes of dependents: 'Orphan', 'Background' or 'Foreground'.",
  "DeleteOptions.dryRun": "With 'All', nothing is deleted.",

  "SelfSubjectReview": "SelfSubjectReview answers who the server takes the client for.",
  "SelfSubjectAccessReview": "SelfSubjectAccessReview answers whether the client may do something.",
  "SelfSubjectRulesReview": "SelfSubjectRulesReview answers all that the client may do.",
}

/** Of a type (`Secret`) or a field (`Secret.data`); empty where there is none. */
export const describe = (name: string): string => DESCRIPTIONS[name] ?? ""
