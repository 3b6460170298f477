/** What a field of a request means to the connection it came over. */
export const INCOMING = { plain: 0, length: 1, encoding: 2, connection: 3, host: 4, upgrade: 5, expect: 6, te: 7, dropped: 8 } as const
export type IncomingKind = (typeof INCOMING)[keyof typeof INCOMING]

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/
/** Clients choose the names, so what is remembered of them is emptied when it is full. */
const REMEMBERED = 1000

const KINDS: Readonly<Record<string, IncomingKind>> = {
  'content-length': INCOMING.length,
  'transfer-encoding': INCOMING.encoding,
  connection: INCOMING.connection,
  host: INCOMING.host,
  upgrade: INCOMING.upgrade,
  expect: INCOMING.expect,
  te: INCOMING.te,
  'keep-alive': INCOMING.dropped,
  'proxy-connection': INCOMING.dropped,
  'http2-settings': INCOMING.dropped,
  trailer: INCOMING.dropped,
}

export interface IncomingField {
  /** In lower case. */
  readonly name: string
  readonly kind: IncomingKind
}

const fields = new Map<string, IncomingField>()

/** The field by its name as it came; undefined when that is no name. */
export function incomingField(raw: string): IncomingField | undefined {
  return fields.get(raw) ?? learn(raw)
}

function learn(raw: string): IncomingField | undefined {
  if (!TOKEN.test(raw)) return undefined
  // A copy: a slice would keep the whole head it was cut from.
  const copy = Buffer.from(raw, 'latin1').toString('latin1')
  const name = copy.toLowerCase()
  const field = { name, kind: Object.hasOwn(KINDS, name) ? (KINDS[name] as IncomingKind) : INCOMING.plain }
  if (fields.size >= REMEMBERED) fields.clear()
  fields.set(copy, field)
  return field
}
