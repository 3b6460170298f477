import { isIPv4 } from 'node:net'

/** Record types of RFC 1035, 3596 and 2782 that service discovery uses. */
export const DnsType = { A: 1, PTR: 12, TXT: 16, AAAA: 28, SRV: 33, ANY: 255 } as const

export interface DnsQuestion {
  name: string
  type: number
  /** The asker wants the answer for itself (RFC 6762, 5.4). */
  unicast?: boolean
}

interface RecordHead {
  /** Labels joined by dots, without the last one; a dot or backslash inside a label has a backslash before it. */
  name: string
  /** Seconds; 0 says goodbye. */
  ttl: number
  /** Replaces what was known under this name (RFC 6762, 10.2). */
  flush?: boolean
}

export type DnsRecord = RecordHead &
  (
    | { type: typeof DnsType.A | typeof DnsType.AAAA; address: string }
    | { type: typeof DnsType.PTR; target: string }
    | { type: typeof DnsType.SRV; port: number; target: string }
    | { type: typeof DnsType.TXT; texts: readonly string[] }
  )

export interface DnsMessage {
  id: number
  response: boolean
  questions: readonly DnsQuestion[]
  answers: readonly DnsRecord[]
  authorities: readonly DnsRecord[]
  additionals: readonly DnsRecord[]
}

/** Bytes of one multicast DNS message, headers aside (RFC 6762, 17). */
export const MESSAGE_LIMIT = 9000
const RECORD_LIMIT = 256
const NAME_LIMIT = 255
const LABEL_LIMIT = 63
const JUMP_LIMIT = 64
const RESPONSE = 0x8000
const AUTHORITATIVE = 0x0400
/** Opcode and response code: other than 0 is none of ours. */
const UNUSUAL = 0x780f
const TOP_BIT = 0x8000
const INTERNET = 1
const POINTER = 0xc0

/** Bytes that are no DNS message, or a message beyond our bounds. */
export class DnsMessageError extends Error {
  override readonly name = 'DnsMessageError'
}

/** Reads one message; records of types that we do not use are left out. Throws DnsMessageError, whatever the bytes are. */
export function decodeMessage(bytes: Buffer): DnsMessage {
  if (bytes.length < 12) throw new DnsMessageError('shorter than a header')
  if (bytes.length > MESSAGE_LIMIT) throw new DnsMessageError(`longer than ${MESSAGE_LIMIT} bytes`)
  const flags = bytes.readUInt16BE(2)
  if (flags & UNUSUAL) throw new DnsMessageError('neither a standard query nor a successful reply')
  const counts = [bytes.readUInt16BE(4), bytes.readUInt16BE(6), bytes.readUInt16BE(8), bytes.readUInt16BE(10)] as const
  if (counts[0] + counts[1] + counts[2] + counts[3] > RECORD_LIMIT) throw new DnsMessageError(`more than ${RECORD_LIMIT} records`)
  const reader = new Reader(bytes, 12)
  const questions: DnsQuestion[] = []
  for (let i = 0; i < counts[0]; i++) {
    const name = reader.name()
    const type = reader.uint16()
    questions.push({ name, type, unicast: (reader.uint16() & TOP_BIT) !== 0 })
  }
  return {
    id: bytes.readUInt16BE(0),
    response: (flags & RESPONSE) !== 0,
    questions,
    answers: reader.records(counts[1]),
    authorities: reader.records(counts[2]),
    additionals: reader.records(counts[3]),
  }
}

class Reader {
  readonly #bytes: Buffer
  #at: number

  constructor(bytes: Buffer, at: number) {
    this.#bytes = bytes
    this.#at = at
  }

  #need(size: number): number {
    const at = this.#at
    if (at + size > this.#bytes.length) throw new DnsMessageError('ends in the middle of a record')
    this.#at = at + size
    return at
  }

  uint16(): number {
    return this.#bytes.readUInt16BE(this.#need(2))
  }

  /** Follows pointers only backwards, so that it ends on any bytes. */
  name(): string {
    const bytes = this.#bytes
    const labels: string[] = []
    let at = this.#at
    let lowest = at
    let jumps = 0
    let length = 0
    for (;;) {
      const size = bytes[at]
      if (size === undefined) throw new DnsMessageError('ends in the middle of a name')
      if (size >= POINTER) {
        const low = bytes[at + 1]
        if (low === undefined) throw new DnsMessageError('ends in the middle of a name')
        const target = ((size & ~POINTER) << 8) | low
        if (target >= lowest) throw new DnsMessageError('a name points forwards')
        if (jumps++ === 0) this.#at = at + 2
        if (jumps > JUMP_LIMIT) throw new DnsMessageError(`a name with more than ${JUMP_LIMIT} pointers`)
        at = target
        lowest = target
        continue
      }
      if (size > LABEL_LIMIT) throw new DnsMessageError('a label of an unknown kind')
      at++
      if (size === 0) break
      length += size + 1
      if (length >= NAME_LIMIT) throw new DnsMessageError(`a name longer than ${NAME_LIMIT} bytes`)
      if (at + size > bytes.length) throw new DnsMessageError('ends in the middle of a name')
      labels.push(bytes.toString('utf8', at, at + size).replace(/[.\\]/g, '\\$&'))
      at += size
    }
    if (jumps === 0) this.#at = at
    return labels.join('.')
  }

  records(count: number): DnsRecord[] {
    const records: DnsRecord[] = []
    for (let i = 0; i < count; i++) {
      const record = this.#record()
      if (record) records.push(record)
    }
    return records
  }

  #record(): DnsRecord | undefined {
    const name = this.name()
    const type = this.uint16()
    const kind = this.uint16()
    const ttl = this.#bytes.readUInt32BE(this.#need(4))
    const size = this.uint16()
    const start = this.#need(size)
    if ((kind & ~TOP_BIT) !== INTERNET) return undefined
    const head = { name, ttl, flush: (kind & TOP_BIT) !== 0 }
    const inside = new Reader(this.#bytes.subarray(0, start + size), start)
    switch (type) {
      case DnsType.A:
        if (size !== 4) throw new DnsMessageError('an A record without 4 bytes')
        return { ...head, type, address: this.#bytes.subarray(start, start + 4).join('.') }
      case DnsType.AAAA:
        if (size !== 16) throw new DnsMessageError('an AAAA record without 16 bytes')
        return { ...head, type, address: formatIpv6(this.#bytes, start) }
      case DnsType.PTR:
        return { ...head, type, target: inside.name() }
      case DnsType.SRV:
        inside.#need(4)
        return { ...head, type, port: inside.uint16(), target: inside.name() }
      case DnsType.TXT:
        return { ...head, type, texts: inside.#texts() }
      default:
        return undefined
    }
  }

  #texts(): string[] {
    const texts: string[] = []
    while (this.#at < this.#bytes.length) {
      const size = this.#bytes[this.#need(1)] as number
      const at = this.#need(size)
      texts.push(this.#bytes.toString('utf8', at, at + size))
    }
    return texts
  }
}

/** Writes one message. Throws DnsMessageError for names, labels or texts that DNS cannot carry. */
export function encodeMessage(message: Partial<DnsMessage>): Buffer {
  const writer = new Writer()
  writer.uint16(message.id ?? 0)
  writer.uint16(message.response ? RESPONSE | AUTHORITATIVE : 0)
  const sections = [message.answers ?? [], message.authorities ?? [], message.additionals ?? []]
  writer.uint16(message.questions?.length ?? 0)
  for (const section of sections) writer.uint16(section.length)
  for (const question of message.questions ?? []) {
    writer.name(question.name)
    writer.uint16(question.type)
    writer.uint16(INTERNET | (question.unicast ? TOP_BIT : 0))
  }
  for (const section of sections) for (const record of section) writer.record(record)
  return writer.finish()
}

class Writer {
  readonly #bytes = Buffer.alloc(MESSAGE_LIMIT)
  /** Where each tail of a name stands, to be pointed at. */
  readonly #tails = new Map<string, number>()
  #at = 0

  #room(size: number): number {
    const at = this.#at
    if (at + size > MESSAGE_LIMIT) throw new DnsMessageError(`longer than ${MESSAGE_LIMIT} bytes`)
    this.#at = at + size
    return at
  }

  uint16(value: number): void {
    this.#bytes.writeUInt16BE(value, this.#room(2))
  }

  name(name: string, compress = true): void {
    const labels = name.match(/(?:\\.|[^.\\])+/g) ?? []
    let length = 1
    for (let i = 0; i < labels.length; i++) {
      const tail = labels.slice(i).join('.')
      const known = compress ? this.#tails.get(tail) : undefined
      if (known !== undefined) return this.uint16((POINTER << 8) | known)
      if (this.#at < 0x3fff) this.#tails.set(tail, this.#at)
      const label = Buffer.from((labels[i] as string).replace(/\\(.)/g, '$1'))
      if (label.length > LABEL_LIMIT) throw new DnsMessageError(`${labels[i]} is longer than the ${LABEL_LIMIT} bytes of a DNS label`)
      length += label.length + 1
      if (length > NAME_LIMIT) throw new DnsMessageError(`${name} is longer than the ${NAME_LIMIT} bytes of a DNS name`)
      this.#bytes[this.#room(1)] = label.length
      label.copy(this.#bytes, this.#room(label.length))
    }
    this.#bytes[this.#room(1)] = 0
  }

  record(record: DnsRecord): void {
    this.name(record.name)
    this.uint16(record.type)
    this.uint16(INTERNET | (record.flush ? TOP_BIT : 0))
    this.#bytes.writeUInt32BE(record.ttl, this.#room(4))
    const size = this.#room(2)
    const start = this.#at
    switch (record.type) {
      case DnsType.A:
      case DnsType.AAAA:
        Buffer.from(addressBytes(record.address)).copy(this.#bytes, this.#room(record.type === DnsType.A ? 4 : 16))
        break
      case DnsType.PTR:
        this.name(record.target)
        break
      case DnsType.SRV:
        this.#bytes.fill(0, this.#room(4), this.#at)
        this.uint16(record.port)
        // RFC 2782: not compressed, plain resolvers insist on it.
        this.name(record.target, false)
        break
      case DnsType.TXT:
        for (const text of record.texts) {
          const bytes = Buffer.from(text)
          if (bytes.length > 255) throw new DnsMessageError('a text of a TXT record is longer than 255 bytes')
          this.#bytes[this.#room(1)] = bytes.length
          bytes.copy(this.#bytes, this.#room(bytes.length))
        }
    }
    this.#bytes.writeUInt16BE(this.#at - start, size)
  }

  finish(): Buffer {
    return Buffer.from(this.#bytes.subarray(0, this.#at))
  }
}

function formatIpv6(bytes: Buffer, at: number): string {
  const groups: string[] = []
  for (let i = 0; i < 16; i += 2) groups.push(bytes.readUInt16BE(at + i).toString(16))
  // URL writes the shortest form.
  return new URL(`http://[${groups.join(':')}]`).hostname.slice(1, -1)
}

function addressBytes(address: string): number[] {
  if (isIPv4(address)) return address.split('.').map(Number)
  const whole = new URL(`http://[${address.replace(/%.*/, '')}]`).hostname.slice(1, -1)
  const [head = '', tail] = whole.split('::')
  const groups = (part: string) => part.split(':').filter((group) => group !== '')
  const before = groups(head)
  const after = tail === undefined ? [] : groups(tail)
  const all = [...before, ...Array<string>(8 - before.length - after.length).fill('0'), ...after]
  return all.flatMap((group) => [Number.parseInt(group, 16) >> 8, Number.parseInt(group, 16) & 0xff])
}
