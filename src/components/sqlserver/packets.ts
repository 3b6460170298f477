/** Kinds of messages. https://learn.microsoft.com/openspecs/windows_protocols/ms-tds */
export const MESSAGE = { batch: 1, rpc: 3, response: 4, login: 16, prelogin: 18 } as const
export type MessageKind = (typeof MESSAGE)[keyof typeof MESSAGE]

const HEADER = 8
const LAST = 1
/** A value may have 2 GiB; what a store holds is far less. */
const LARGEST = 256 << 20

/** A message in packets of at most `size` bytes, headers included. */
export function packetsOf(kind: MessageKind, body: Buffer, size: number): Buffer {
  const room = size - HEADER
  const count = Math.max(1, Math.ceil(body.length / room))
  const out = Buffer.allocUnsafe(body.length + count * HEADER)
  let at = 0
  for (let index = 0; index < count; index++) {
    const part = body.subarray(index * room, (index + 1) * room)
    out[at] = kind
    out[at + 1] = index === count - 1 ? LAST : 0
    out.writeUInt16BE(part.length + HEADER, at + 2)
    out.writeUInt16BE(0, at + 4)
    out[at + 6] = (index + 1) & 0xff
    out[at + 7] = 0
    part.copy(out, at + HEADER)
    at += HEADER + part.length
  }
  return out
}

/** Puts messages together from what arrives; gives each when its last packet is there. Throws on what is no packet. */
export class MessageReader {
  readonly #give: (body: Buffer) => void
  #rest: Buffer = Buffer.alloc(0)
  #parts: Buffer[] = []
  #length = 0

  constructor(give: (body: Buffer) => void) {
    this.#give = give
  }

  push(chunk: Buffer): void {
    let rest = this.#rest.length ? Buffer.concat([this.#rest, chunk]) : chunk
    while (rest.length >= HEADER) {
      const length = rest.readUInt16BE(2)
      if (length < HEADER || (rest[0] !== MESSAGE.response && rest[0] !== MESSAGE.prelogin))
        throw new Error('the server does not speak the protocol of SQL Server')
      if (rest.length < length) break
      this.#parts.push(rest.subarray(HEADER, length))
      this.#length += length - HEADER
      if (this.#length > LARGEST) throw new Error(`an answer of more than ${LARGEST >> 20} MiB`)
      const last = ((rest[1] as number) & LAST) !== 0
      rest = rest.subarray(length)
      if (!last) continue
      const body = this.#parts.length === 1 ? (this.#parts[0] as Buffer) : Buffer.concat(this.#parts)
      this.#parts = []
      this.#length = 0
      this.#give(body)
    }
    this.#rest = rest
  }
}
