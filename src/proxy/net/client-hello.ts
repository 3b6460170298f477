/** What a client says of itself before anything is encrypted. */
export interface ClientHello {
  serverName: string | undefined
  alpn: readonly string[]
}

const HANDSHAKE = 0x16
const CLIENT_HELLO = 1
const SERVER_NAME = 0
const ALPN = 16
/** Bytes of a hello; longer ones are none. */
const MAX_HELLO = 16_384

/**
 * Reads the first message of TLS, RFC 8446 section 4.1.2. `more`: it is not complete; `none`: this is no TLS. Hellos in several
 * records are put together.
 */
export function readClientHello(bytes: Buffer): ClientHello | 'more' | 'none' {
  if (bytes.length === 0) return 'more'
  if (bytes[0] !== HANDSHAKE || (bytes.length > 1 && bytes[1] !== 3)) return 'none'
  const parts: Buffer[] = []
  let size = 0
  for (let at = 0; at < bytes.length; ) {
    if (bytes.length - at < 5) return 'more'
    if (bytes[at] !== HANDSHAKE) return 'none'
    const length = bytes.readUInt16BE(at + 3)
    if (length === 0 || size + length > MAX_HELLO) return 'none'
    const part = bytes.subarray(at + 5, at + 5 + length)
    parts.push(part)
    size += part.length
    at += 5 + length
    const hello = parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts, size)
    if (hello.length < 4) continue
    if (hello[0] !== CLIENT_HELLO) return 'none'
    const wanted = hello.readUIntBE(1, 3)
    if (wanted > MAX_HELLO) return 'none'
    if (hello.length >= wanted + 4) return parse(hello.subarray(4, wanted + 4)) ?? 'none'
  }
  return 'more'
}

/** Undefined: this is no HTTP in clear text. `more`: it may become that. */
export function detectHttp(bytes: Buffer): 'http/1.1' | 'h2c' | 'more' | undefined {
  const text = bytes.toString('latin1', 0, 24)
  if (text.startsWith('PRI * HTTP/2.0')) return 'h2c'
  if ('PRI * HTTP/2.0'.startsWith(text)) return 'more'
  if (/^[A-Z]{3,16} (\/|\*|http)/.test(text)) return 'http/1.1'
  return /^[A-Z]{0,16}( h?t{0,2})?$/.test(text) ? 'more' : undefined
}

/** Undefined: it is cut or contradicts itself. */
function parse(hello: Buffer): ClientHello | undefined {
  const found: { serverName: string | undefined; alpn: string[] } = { serverName: undefined, alpn: [] }
  try {
    let at = 34
    at += 1 + hello.readUInt8(at)
    at += 2 + hello.readUInt16BE(at)
    at += 1 + hello.readUInt8(at)
    if (at === hello.length) return found
    const end = at + 2 + hello.readUInt16BE(at)
    at += 2
    if (end > hello.length) return undefined
    while (at < end) {
      const type = hello.readUInt16BE(at)
      const length = hello.readUInt16BE(at + 2)
      at += 4
      if (at + length > end) return undefined
      const data = hello.subarray(at, at + length)
      at += length
      if (type === SERVER_NAME && length > 5 && data[2] === 0) {
        const name = data.subarray(5, 5 + data.readUInt16BE(3))
        found.serverName = name.toString('latin1').toLowerCase()
      } else if (type === ALPN)
        for (let each = 2; each < length; ) {
          const size = data.readUInt8(each)
          found.alpn.push(data.toString('latin1', each + 1, each + 1 + size))
          each += 1 + size
        }
    }
    return found
  } catch (error) {
    if (error instanceof RangeError) return undefined
    throw error
  }
}
