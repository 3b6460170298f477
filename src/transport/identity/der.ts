/** One DER value (X.690): tag, length in its shortest form, content. */
export function tlv(tag: number, ...parts: readonly Uint8Array[]): Buffer {
  const content = Buffer.concat(parts)
  const size = content.length
  if (size < 0x80) return Buffer.concat([Buffer.of(tag, size), content])
  const bytes: number[] = []
  for (let rest = size; rest > 0; rest >>>= 8) bytes.unshift(rest & 0xff)
  return Buffer.concat([Buffer.of(tag, 0x80 | bytes.length, ...bytes), content])
}

export const TAG = { boolean: 0x01, integer: 0x02, bits: 0x03, octets: 0x04, oid: 0x06, utf8: 0x0c, sequence: 0x30, set: 0x31 } as const

/** An object identifier, e.g. `2.5.29.17`. */
export function oid(text: string): Buffer {
  const [first = 0, second = 0, ...rest] = text.split('.').map(Number)
  const bytes = [first * 40 + second, ...rest].flatMap((arc) => {
    const digits = [arc & 0x7f]
    for (let left = Math.floor(arc / 128); left > 0; left = Math.floor(left / 128)) digits.unshift(0x80 | (left & 0x7f))
    return digits
  })
  return tlv(TAG.oid, Buffer.from(bytes))
}

/** Signature and key algorithm id-Ed25519 of RFC 8410, which has no parameters. */
export const ED25519 = tlv(TAG.sequence, oid('1.3.101.112'))

/** Signature algorithm sha256WithRSAEncryption of RFC 4055, whose parameters are null. */
export const RSA_SHA256 = tlv(TAG.sequence, oid('1.2.840.113549.1.1.11'), tlv(0x05))

/** Signature algorithms ecdsa-with-SHA256 and -SHA384 of RFC 5758, which have no parameters. */
export const ECDSA_SHA256 = tlv(TAG.sequence, oid('1.2.840.10045.4.3.2'))
export const ECDSA_SHA384 = tlv(TAG.sequence, oid('1.2.840.10045.4.3.3'))

/** A bit string of whole bytes. */
export function bits(content: Uint8Array): Buffer {
  return tlv(TAG.bits, Buffer.of(0), content)
}

/** One value as it stands in a DER text, without its surroundings. */
export interface Value {
  readonly tag: number
  /** With tag and length. */
  readonly whole: Buffer
  readonly content: Buffer
}

/** The values that follow each other in `bytes`; throws on what is not DER with lengths of up to four bytes. */
export function values(bytes: Buffer): Value[] {
  const found: Value[] = []
  for (let at = 0; at < bytes.length; ) {
    const short = bytes[at + 1] ?? 0xff
    const more = short < 0x80 ? 0 : short & 0x7f
    if (more > 4 || (short >= 0x80 && more === 0) || at + 2 + more > bytes.length) throw new Error('a length in it is wrong')
    const start = at + 2 + more
    const size = more === 0 ? short : bytes.readUIntBE(at + 2, more)
    if (start + size > bytes.length) throw new Error('it ends too early')
    found.push({ tag: bytes[at] as number, whole: bytes.subarray(at, start + size), content: bytes.subarray(start, start + size) })
    at = start + size
  }
  return found
}

/** A PEM block (RFC 7468). */
export function pem(label: string, der: Buffer): string {
  const lines = der.toString('base64').match(/.{1,64}/g) ?? []
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`
}
