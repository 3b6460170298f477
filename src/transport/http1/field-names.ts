import { HttpCallError, malformed } from './errors.ts'

/** What a field of a reply means to the connection it came over. */
export const FIELD = { plain: 0, length: 1, encoding: 2, connection: 3, keepAlive: 4 } as const
export type FieldKind = (typeof FIELD)[keyof typeof FIELD]

/** What becomes of a field of a request: written as given, the length of a streamed body, the host, or left out. */
export const SENT = { asGiven: 0, length: 1, host: 2, never: 3 } as const
export type Sent = (typeof SENT)[keyof typeof SENT]

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/
/** Other ends choose the names, so what is remembered of them is emptied when it is full. */
const REMEMBERED = 1000

const KINDS: Readonly<Record<string, FieldKind>> = {
  'content-length': FIELD.length,
  'transfer-encoding': FIELD.encoding,
  connection: FIELD.connection,
  'keep-alive': FIELD.keepAlive,
}
const FATES: Readonly<Record<string, Sent>> = {
  'content-length': SENT.length,
  host: SENT.host,
  // The framing of a message and the handling of its connection are this client's own.
  'transfer-encoding': SENT.never,
  connection: SENT.never,
  'keep-alive': SENT.never,
  'proxy-connection': SENT.never,
  upgrade: SENT.never,
  'http2-settings': SENT.never,
  trailer: SENT.never,
  te: SENT.never,
  expect: SENT.never,
}

export interface ReplyField {
  /** In lower case. */
  readonly name: string
  readonly kind: FieldKind
}

const replies = new Map<string, ReplyField>()
const requests = new Map<string, Sent>()

/** The field of a reply by its name as it came. Throws when that is no name. */
export function replyField(raw: string): ReplyField {
  return replies.get(raw) ?? learnReply(raw)
}

function learnReply(raw: string): ReplyField {
  if (!TOKEN.test(raw)) throw malformed(`${JSON.stringify(raw.slice(0, 40))} is no header name`)
  // A copy: a slice would keep the whole head it was cut from.
  const copy = Buffer.from(raw, 'latin1').toString('latin1')
  const name = copy.toLowerCase()
  const field = { name, kind: Object.hasOwn(KINDS, name) ? (KINDS[name] as FieldKind) : FIELD.plain }
  if (replies.size >= REMEMBERED) replies.clear()
  replies.set(copy, field)
  return field
}

/** What becomes of a request's field by its name as given. Throws when that is no name. */
export function fateOf(raw: string): Sent {
  return requests.get(raw) ?? learnFate(raw)
}

function learnFate(raw: string): Sent {
  if (!TOKEN.test(raw)) throw new HttpCallError('EINVAL', `${JSON.stringify(raw.slice(0, 40))} is no header name`)
  const name = raw.toLowerCase()
  const fate = Object.hasOwn(FATES, name) ? (FATES[name] as Sent) : SENT.asGiven
  if (requests.size >= REMEMBERED) requests.clear()
  requests.set(Buffer.from(raw, 'latin1').toString('latin1'), fate)
  return fate
}

/** Whether this is the name of a method. */
export function isToken(text: string): boolean {
  return TOKEN.test(text)
}
