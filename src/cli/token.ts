/** `keyturn token rotate`. It prints the token on standard output, and nothing else there. */
import { readIfPresent } from "../cluster/files.ts"
import { isShort, passwordOf, SHORT } from "../cluster/token.ts"
import { KnownError } from "../errors.ts"
import { type ConnectOptions, connect } from "./connect.ts"
import { type Context, note, say } from "./context.ts"

export interface TokenOptions extends ConnectOptions {
  readonly newToken?: string
  readonly newTokenFile?: string
}

export async function rotateToken(options: TokenOptions, context: Context): Promise<void> {
  const newToken = newTokenOf(options)
  const client = await connect(options, context)
  const token = await client.rotateToken(newToken)
  say(context, token)
  if (isShort(passwordOf(token))) note(context, `warning: ${SHORT}`)
  note(context, "the old token opens backups made before now: keep it as long as those")
}

function newTokenOf({ newToken, newTokenFile }: TokenOptions): string | undefined {
  if (newTokenFile === undefined) return newToken
  if (newToken !== undefined) {
    throw new KnownError("UsageInvalid", "--new-token and --new-token-file cannot both be given")
  }
  const text = readIfPresent(newTokenFile)?.trim()
  if (text) return text
  const seen = text === undefined ? `there is no file ${newTokenFile}` : `${newTokenFile} is empty`
  throw new KnownError("UsageInvalid", `--new-token-file: ${seen}`)
}
