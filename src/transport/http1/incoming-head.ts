import { isToken } from './field-names.ts'
import { INCOMING, incomingField } from './incoming-fields.ts'
import { CHUNKED, trimmed } from './reply-head.ts'

/** The head of a request as a server reads it, its framing taken out of the fields. */
export interface IncomingHead {
  method: string
  /** Path and query of an origin-form or absolute-form target; `*`, or the authority of CONNECT. */
  target: string
  /** Of HTTP/1.x. */
  minor: number
  /** Names in lower case and values in turn, without those that belong to the connection. */
  fields: string[]
  /** Empty when an HTTP/1.0 client names none. */
  host: string
  /** Bytes of the body; CHUNKED. */
  length: number
  /** The client may send another request after this one. */
  keepAlive: boolean
  /** The protocol that the client asks to change to. */
  upgrade: string | undefined
  /** It waits for 100 (Continue) before it sends the body. */
  expects: boolean
  /** It takes trailers (TE). */
  trailers: boolean
}

/** A request that cannot be served; the connection ends with the answer, for where the next one begins is not certain. */
export class BadRequest extends Error {
  override readonly name = 'BadRequest'
  readonly status: number

  constructor(status: number, message: string) {
    super(message)
    this.status = status
  }
}

/** Fields of one head: more are an attack. */
const MAX_FIELDS = 1000
/** Control characters, and an end of a line without its CR. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const BROKEN = /[\0-\x08\x0b\x0c\x0e-\x1f\x7f]|[^\r]\n/
const LINE = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([!-~\x80-\xff]+) HTTP\/(\d)\.(\d)\r\n/
const ABSOLUTE = /^[a-z][a-z0-9+.-]*:\/\/([^/?#]*)([^#]*)/i
const AUTHORITY = /^[A-Za-z0-9\-._~%!$&'()*+,;=:[\]]*$/

/**
 * Reads a head, request line to the end of the last field's line, RFC 9112 sections 3 to 6. Throws BadRequest where the rules leave
 * room for two readings: folded lines, bare CR or LF, blanks before a colon, several hosts, lengths that contradict each other or the encoding.
 */
export function parseIncoming(text: string): IncomingHead {
  if (BROKEN.test(text)) throw new BadRequest(400, 'a control character in the head')
  const line = LINE.exec(text)
  if (!line) throw new BadRequest(400, 'no request line')
  const [whole, method = '', given = ''] = line
  if (line[3] !== '1') throw new BadRequest(505, `HTTP/${line[3]}.${line[4]} is not spoken here`)
  const minor = line[4] === '0' ? 0 : 1
  const head: IncomingHead = {
    method,
    target: given,
    minor,
    fields: [],
    host: '',
    length: 0,
    keepAlive: minor === 1,
    upgrade: undefined,
    expects: false,
    trailers: false,
  }
  readFields(head, text, whole.length)
  if (given.charCodeAt(0) !== 47) readTarget(head, given)
  return head
}

function readFields(head: IncomingHead, text: string, from: number): void {
  const { fields, minor } = head
  const last = text.length
  let at = from
  let hosts = 0
  let declared = -1
  let upgrade: string | undefined
  let upgrades = false
  let dropped: string[] | undefined
  while (at < last) {
    const stop = text.indexOf('\r', at)
    if (text.charCodeAt(stop + 1) !== 10) throw new BadRequest(400, 'a CR without LF')
    const colon = text.indexOf(':', at)
    const field = colon < 0 || colon > stop ? undefined : incomingField(text.slice(at, colon))
    if (!field) throw new BadRequest(400, 'a header line without a name')
    const value = trimmed(text, colon + 1, stop)
    at = stop + 2
    switch (field.kind) {
      case INCOMING.plain:
        if (fields.push(field.name, value) > MAX_FIELDS * 2) throw new BadRequest(431, `more than ${MAX_FIELDS} header lines`)
        break
      case INCOMING.host:
        if (++hosts > 1 || !AUTHORITY.test(value)) throw new BadRequest(400, 'the Host header')
        head.host = value
        break
      case INCOMING.length: {
        const length = lengthOf(value)
        if (head.length === CHUNKED || (declared >= 0 && declared !== length)) throw new BadRequest(400, 'several lengths')
        head.length = declared = length
        break
      }
      case INCOMING.encoding:
        if (head.length !== 0 || declared >= 0 || minor === 0) throw new BadRequest(400, 'Transfer-Encoding beside another length')
        if (value.toLowerCase() !== 'chunked') throw new BadRequest(501, 'a Transfer-Encoding other than chunked')
        head.length = CHUNKED
        break
      case INCOMING.connection:
        for (const token of value.toLowerCase().split(',')) {
          const name = token.trim()
          if (name === 'close') head.keepAlive = false
          else if (name === 'keep-alive') head.keepAlive = head.keepAlive || minor === 0
          else if (name === 'upgrade') upgrades = true
          else if (name !== '' && isToken(name)) {
            dropped ??= []
            dropped.push(name)
          }
        }
        break
      case INCOMING.upgrade:
        upgrade = value
        break
      case INCOMING.expect:
        if (value.toLowerCase() !== '100-continue') throw new BadRequest(417, 'an expectation other than 100-continue')
        head.expects = minor === 1
        break
      case INCOMING.te:
        head.trailers = /(^|[,\s])trailers($|[,;\s])/i.test(value)
        break
      default:
    }
  }
  if (hosts === 0 && minor === 1) throw new BadRequest(400, 'no Host header')
  if (upgrades && minor === 1) head.upgrade = upgrade
  // The client says itself that these go no further.
  if (dropped) for (let i = fields.length - 2; i >= 0; i -= 2) if (dropped.includes(fields[i] as string)) fields.splice(i, 2)
}

/** Targets that do not begin with a slash. */
function readTarget(head: IncomingHead, given: string): void {
  if (head.method === 'CONNECT') {
    if (!AUTHORITY.test(given)) throw new BadRequest(400, 'the target of CONNECT')
    return
  }
  if (given === '*' && head.method === 'OPTIONS') return
  const found = ABSOLUTE.exec(given)
  if (!found || !AUTHORITY.test(found[1] as string) || found[1] === '') throw new BadRequest(400, 'the request target')
  // What stands in the target counts, not Host: https://www.rfc-editor.org/rfc/rfc9112#section-3.2.2
  head.host = found[1] as string
  const rest = found[2] as string
  head.target = rest.startsWith('/') ? rest : `/${rest}`
}

function lengthOf(value: string): number {
  // More digits than 15 are no safe number, and no body.
  if (!/^\d{1,15}$/.test(value)) throw new BadRequest(400, 'Content-Length')
  return Number(value)
}
