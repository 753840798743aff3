/** The messages of authentication/v1 and authorization/v1 (k8s.io/api) that clients ask about themselves with. Never stored. */

import { ObjectMeta } from "./meta.ts"
import { bool, string } from "./scalars.ts"
import { list, message } from "./schema.ts"

// biome-ignore-start format: tables

const UserInfo = message("UserInfo", [
  [1, "username", string, "wire"],
  [2, "uid", string, "wire"],
  [3, "groups", list(string), "set"],
])

const SelfSubjectReviewStatus = message("SelfSubjectReviewStatus", [
  [1, "userInfo", UserInfo, "always"],
])

export const SelfSubjectReview = message("SelfSubjectReview", [
  [1, "metadata", ObjectMeta, "always"],
  [2, "status", SelfSubjectReviewStatus, "always"],
])

const SelectorRequirement = message("SelectorRequirement", [
  [1, "key", string, "always"],
  [2, "operator", string, "always"],
  [3, "values", list(string), "set"],
])

const SelectorAttributes = message("SelectorAttributes", [
  [1, "rawSelector", string, "wire"],
  [2, "requirements", list(SelectorRequirement), "set"],
])

const ResourceAttributes = message("ResourceAttributes", [
  [1, "namespace", string, "wire"],
  [2, "verb", string, "wire"],
  [3, "group", string, "wire"],
  [4, "version", string, "wire"],
  [5, "resource", string, "wire"],
  [6, "subresource", string, "wire"],
  [7, "name", string, "wire"],
  [8, "fieldSelector", SelectorAttributes, "set"],
  [9, "labelSelector", SelectorAttributes, "set"],
])

const NonResourceAttributes = message("NonResourceAttributes", [
  [1, "path", string, "wire"],
  [2, "verb", string, "wire"],
])

const SelfSubjectAccessReviewSpec = message("SelfSubjectAccessReviewSpec", [
  [1, "resourceAttributes", ResourceAttributes, "set"],
  [2, "nonResourceAttributes", NonResourceAttributes, "set"],
])

const SubjectAccessReviewStatus = message("SubjectAccessReviewStatus", [
  [1, "allowed", bool, "always"],
  [4, "denied", bool, "wire"],
  [2, "reason", string, "wire"],
  [3, "evaluationError", string, "wire"],
])

export const SelfSubjectAccessReview = message("SelfSubjectAccessReview", [
  [1, "metadata", ObjectMeta, "always"],
  [2, "spec", SelfSubjectAccessReviewSpec, "always"],
  [3, "status", SubjectAccessReviewStatus, "always"],
])

const SelfSubjectRulesReviewSpec = message("SelfSubjectRulesReviewSpec", [
  [1, "namespace", string, "wire"],
])

const ResourceRule = message("ResourceRule", [
  [1, "verbs", list(string), "always"],
  [2, "apiGroups", list(string), "set"],
  [3, "resources", list(string), "set"],
  [4, "resourceNames", list(string), "set"],
])

const NonResourceRule = message("NonResourceRule", [
  [1, "verbs", list(string), "always"],
  [2, "nonResourceURLs", list(string), "set"],
])

const SubjectRulesReviewStatus = message("SubjectRulesReviewStatus", [
  [1, "resourceRules", list(ResourceRule), "always"],
  [2, "nonResourceRules", list(NonResourceRule), "always"],
  [3, "incomplete", bool, "always"],
  [4, "evaluationError", string, "wire"],
])

export const SelfSubjectRulesReview = message("SelfSubjectRulesReview", [
  [1, "metadata", ObjectMeta, "always"],
  [2, "spec", SelfSubjectRulesReviewSpec, "always"],
  [3, "status", SubjectRulesReviewStatus, "always"],
])

// biome-ignore-end format: tables
