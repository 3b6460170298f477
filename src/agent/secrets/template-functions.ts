type Call = (given: readonly unknown[]) => unknown

const text =
  (call: (value: string) => unknown): Call =>
  (given) =>
    call(printed(given.at(-1)))

/** What actions may call besides `secret` and `env`; the value of a pipeline comes last. */
export const FUNCTIONS: Readonly<Record<string, Call>> = {
  base64Encode: text((value) => Buffer.from(value).toString('base64')),
  base64Decode: text((value) => Buffer.from(value, 'base64').toString()),
  contains: ([part, value]) => printed(value).includes(printed(part)),
  eq: ([a, ...others]) => others.some((one) => printed(one) === printed(a)),
  indent: ([by, value]) => printed(value).replace(/^(?=.)/gm, ' '.repeat(Math.min(64, Math.max(0, Number(by) || 0)))),
  join: ([between, value]) => (Array.isArray(value) ? value.map(printed).join(printed(between)) : printed(value)),
  not: ([value]) => !value,
  parseJSON: text((value) => JSON.parse(value)),
  printf: ([form, ...values]) => {
    let next = 0
    return printed(form).replace(/%([svdq%])/g, (_, kind: string) => {
      if (kind === '%') return '%'
      const value = printed(values[next++])
      return kind === 'q' ? JSON.stringify(value) : value
    })
  },
  replaceAll: ([from, to, value]) => printed(value).replaceAll(printed(from), () => printed(to)),
  toJSON: (given) => JSON.stringify(given.at(-1)),
  toJSONPretty: (given) => JSON.stringify(given.at(-1), null, 2),
  toLower: text((value) => value.toLowerCase()),
  toUpper: text((value) => value.toUpperCase()),
  trimSpace: text((value) => value.trim()),
}

/** A value as it stands in a file: text as it is, nothing as nothing, lists and objects as JSON. */
export function printed(value: unknown): string {
  if (typeof value === 'string') return value
  return value === undefined || value === null ? '' : typeof value === 'object' ? JSON.stringify(value) : String(value)
}
