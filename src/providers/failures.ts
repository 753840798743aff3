/** Why a value did not open, in Kubernetes' words where they are true, with the key's name. */

import { KnownError } from "../errors.ts"

/** Shorter than nonce and tag, or IV and block: no key can have written it. */
export const tooShort = (key: string): KnownError =>
  new KnownError("ValueCorrupt", `${key}: the stored data was shorter than the required size`)

/** The tag does not fit: another key, another place, or a changed byte. */
export const notAuthentic = (key: string, cause?: unknown): KnownError =>
  new KnownError("KeyDidNotOpen", `${key}: message authentication failed`, { cause })
