const MAX_BYTES = 8192
const MAX_MEMBERS = 180
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/
/** Visible ASCII without quotes, commas, semicolons and backslashes. */
const VALUE = /^[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*$/

/** What is wrong with a `baggage` header (W3C), its values joined by commas; undefined: nothing. */
export function baggageProblem(header: string): string | undefined {
  if (header === '') return undefined
  if (Buffer.byteLength(header) > MAX_BYTES) return `baggage is larger than ${MAX_BYTES} bytes`
  const members = header.split(',')
  if (members.length > MAX_MEMBERS) return `baggage has more than ${MAX_MEMBERS} members`
  for (const member of members) {
    const [pair = '', ...properties] = member.split(';')
    if (!isPair(pair, true)) return `invalid member ${JSON.stringify(member.trim())}: write it as key=value`
    for (const property of properties)
      if (!isPair(property, false)) return `invalid property ${JSON.stringify(property.trim())}: write it as key or key=value`
  }
  return undefined
}

function isPair(text: string, needsValue: boolean): boolean {
  const equals = text.indexOf('=')
  if (equals < 0) return !needsValue && TOKEN.test(text.trim())
  const value = text.slice(equals + 1).trim()
  return TOKEN.test(text.slice(0, equals).trim()) && VALUE.test(value) && !/%(?![0-9A-Fa-f]{2})/.test(value)
}
