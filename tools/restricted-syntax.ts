/** The linter's plugin for what this project bans. The bans stand in .oxlintrc.json, each a selector
 *  (https://eslint.org/docs/latest/extend/selectors) with the message that names the replacement. */

interface Ban {
  readonly selector: string
  readonly message: string
}

interface Context {
  readonly options: readonly Ban[]
  report(finding: { node: unknown; message: string }): void
}

const restrictedSyntax = {
  meta: { schema: { type: "array", items: { type: "object" } } },
  create: ({ options, report }: Context) =>
    Object.fromEntries(
      options.map(({ selector, message }) => [
        selector,
        (node: unknown) => report({ node, message }),
      ]),
    ),
}

/** `language` holds everywhere; `rim` where no clock, environment or terminal may be reached for. */
export default {
  meta: { name: "keyturn" },
  rules: { language: restrictedSyntax, rim: restrictedSyntax },
}
