/** Packet types of MQTT 3.1.1 (OASIS, 2014), the first four bits of a packet. */
export const PACKET = {
  connect: 1,
  connack: 2,
  publish: 3,
  puback: 4,
  pubrec: 5,
  pubrel: 6,
  pubcomp: 7,
  subscribe: 8,
  suback: 9,
  unsubscribe: 10,
  unsuback: 11,
  pingreq: 12,
  pingresp: 13,
  disconnect: 14,
} as const

export interface Packet {
  type: number
  flags: number
  body: Buffer
}

export interface Publish {
  topic: string
  payload: Buffer
  qos: number
  retain: boolean
  duplicate: boolean
  /** 0 with QoS 0. */
  id: number
}

export interface Connect {
  clientId: string
  cleanSession: boolean
  /** Seconds. */
  keepAlive: number
  username?: string | undefined
  password?: string | undefined
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value)
  if (bytes.length > 0xffff) throw new Error(`a text of ${bytes.length} bytes is too long for MQTT`)
  return Buffer.concat([number(bytes.length), bytes])
}

function number(value: number): Buffer {
  return Buffer.from([value >> 8, value & 0xff])
}

/** A packet of these parts. Throws above MQTT's 256 MiB. */
export function packet(type: number, flags: number, ...parts: readonly Buffer[]): Buffer {
  const size = parts.reduce((sum, part) => sum + part.length, 0)
  if (size > 268_435_455) throw new Error(`${size} bytes are too much for one MQTT packet`)
  const head = [(type << 4) | flags]
  for (let rest = size; ; rest >>= 7) {
    if (rest < 0x80) {
      head.push(rest)
      break
    }
    head.push((rest & 0x7f) | 0x80)
  }
  return Buffer.concat([Buffer.from(head), ...parts])
}

export function connectPacket({ clientId, cleanSession, keepAlive, username, password }: Connect): Buffer {
  const flags = (username === undefined ? 0 : 0x80) | (password === undefined ? 0 : 0x40) | (cleanSession ? 2 : 0)
  const parts = [text('MQTT'), Buffer.from([4, flags]), number(keepAlive), text(clientId)]
  if (username !== undefined) parts.push(text(username))
  if (password !== undefined) parts.push(text(password))
  return packet(PACKET.connect, 0, ...parts)
}

export function publishPacket({ topic, payload, qos, retain, duplicate, id }: Publish): Buffer {
  const flags = (duplicate ? 8 : 0) | (qos << 1) | (retain ? 1 : 0)
  return packet(PACKET.publish, flags, text(topic), ...(qos > 0 ? [number(id)] : []), payload)
}

export function readPublish({ flags, body }: Packet): Publish {
  const size = body.readUInt16BE(0)
  const qos = (flags >> 1) & 3
  const at = 2 + size
  return {
    topic: body.toString('utf8', 2, at),
    qos,
    retain: (flags & 1) !== 0,
    duplicate: (flags & 8) !== 0,
    id: qos > 0 ? body.readUInt16BE(at) : 0,
    payload: body.subarray(qos > 0 ? at + 2 : at),
  }
}

/** PUBACK, PUBREC, PUBREL or PUBCOMP. */
export function answerPacket(type: number, id: number): Buffer {
  return packet(type, type === PACKET.pubrel ? 2 : 0, number(id))
}

export function subscribePacket(id: number, filter: string, qos: number): Buffer {
  return packet(PACKET.subscribe, 2, number(id), text(filter), Buffer.from([qos]))
}

export function unsubscribePacket(id: number, filter: string): Buffer {
  return packet(PACKET.unsubscribe, 2, number(id), text(filter))
}

/** Cuts what a socket gives into packets. */
export class PacketReader {
  #rest: Buffer = Buffer.alloc(0)
  #chunks: Buffer[] = []
  #size = 0
  #wanted = 2

  /** The whole packets there are now. Throws when the bytes are not MQTT's. */
  read(chunk: Buffer): Packet[] {
    this.#chunks.push(chunk)
    this.#size += chunk.length
    const packets: Packet[] = []
    if (this.#rest.length + this.#size < this.#wanted) return packets
    let bytes = Buffer.concat([this.#rest, ...this.#chunks])
    this.#chunks = []
    this.#size = 0
    for (;;) {
      const head = header(bytes)
      this.#wanted = head === undefined ? bytes.length + 1 : head.at + head.size
      if (head === undefined || bytes.length < this.#wanted) break
      const first = bytes[0] as number
      packets.push({ type: first >> 4, flags: first & 15, body: bytes.subarray(head.at, this.#wanted) })
      bytes = bytes.subarray(this.#wanted)
    }
    this.#rest = bytes
    return packets
  }
}

function header(bytes: Buffer): { at: number; size: number } | undefined {
  let size = 0
  for (let at = 1; at < 5; at++) {
    const byte = bytes[at]
    if (byte === undefined) return undefined
    size += (byte & 0x7f) << (7 * (at - 1))
    if (byte < 0x80) return { at: at + 1, size }
  }
  throw new Error('the answer is not MQTT')
}
