import { createSocket } from 'node:dgram'
import { chmodSync, readFileSync } from 'node:fs'
import { createServer, isIPv6, type ListenOptions, type Socket } from 'node:net'
import { openUnixDatagram, removeSocket } from './unix-datagram.ts'

/** Bytes of a datagram, of a line and of a frame that are taken; more of a stream's line is malformed. */
const LARGEST = 65_536
const MOST_CONNECTIONS = 512
/** Bytes that the system keeps for us while we are busy; it may give less. */
const RECEIVE_BUFFER = 4 << 20

export interface Intake {
  packets: number
  bytes: number
  /** Lines and frames too long, connections too many. */
  refused: number
  take(data: Buffer): void
}

export interface Listener extends AsyncDisposable {
  kind: 'udp' | 'tcp' | 'unix' | 'unixStream'
  /** Where it is taken, with the port that was given for 0. */
  at: string
  /** Packets that the system dropped because we were too slow; undefined where it does not say. */
  lost?(): number | undefined
}

export function splitAddress(text: string): { host: string; port: number } {
  const at = text.lastIndexOf(':')
  return { host: text.slice(0, at).replace(/^\[|\]$/g, '') || '127.0.0.1', port: Number(text.slice(at + 1)) }
}

/** Resolves when packets are taken. */
export async function listenUdp(address: string, intake: Intake): Promise<Listener> {
  const { host, port } = splitAddress(address)
  const v6 = isIPv6(host)
  const socket = createSocket({ type: v6 ? 'udp6' : 'udp4', recvBufferSize: RECEIVE_BUFFER })
  socket.on('message', (data) => intake.take(data))
  await new Promise<void>((resolve, reject) => {
    socket.once('error', (error) => reject(new Error(`UDP ${address} cannot be opened: ${error.message}`)))
    socket.bind(port, host, resolve)
  })
  // What senders did wrong (ICMP) is none of ours.
  socket.removeAllListeners('error').on('error', () => {})
  const given = socket.address().port
  return {
    kind: 'udp',
    at: `${host}:${given}`,
    lost: () => droppedByKernel(v6, given),
    [Symbol.asyncDispose]: () => new Promise((resolve) => socket.close(() => resolve())),
  }
}

/** The column `drops` of our sockets in /proc/net/udp: datagrams for which there was no room. */
function droppedByKernel(v6: boolean, port: number): number | undefined {
  let table: string
  try {
    table = readFileSync(`/proc/self/net/udp${v6 ? '6' : ''}`, 'utf8')
  } catch {
    return undefined
  }
  const hex = `:${port.toString(16).toUpperCase().padStart(4, '0')}`
  let drops = 0
  for (const row of table.split('\n').slice(1)) {
    const cells = row.trim().split(/\s+/)
    if (cells[1]?.endsWith(hex)) drops += Number(cells.at(-1)) || 0
  }
  return drops
}

export async function listenTcp(address: string, intake: Intake): Promise<Listener> {
  const { host, port } = splitAddress(address)
  const server = await listenStream({ host, port }, `TCP ${address}`, intake)
  return { kind: 'tcp', at: `${host}:${server.port}`, [Symbol.asyncDispose]: server.close }
}

export async function listenUnixStream(path: string, intake: Intake): Promise<Listener> {
  removeSocket(path)
  const server = await listenStream({ path }, path, intake)
  chmodSync(path, 0o777)
  return { kind: 'unixStream', at: path, [Symbol.asyncDispose]: server.close }
}

export async function listenUnix(path: string, intake: Intake): Promise<Listener> {
  const socket = await openUnixDatagram(path, LARGEST, (data) => intake.take(data))
  return { kind: 'unix', at: path, [Symbol.asyncDispose]: () => socket[Symbol.asyncDispose]() }
}

async function listenStream(at: ListenOptions, name: string, intake: Intake): Promise<{ port: number; close(): Promise<void> }> {
  const open = new Set<Socket>()
  const server = createServer({ noDelay: true }, (socket) => {
    open.add(socket)
    const reader = new StreamReader(intake)
    socket.on('data', (chunk: Buffer) => {
      if (!reader.push(chunk)) socket.destroy()
    })
    socket.on('error', () => {})
    socket.on('close', () => {
      open.delete(socket)
      reader.end()
    })
    socket.on('end', () => socket.end())
  })
  server.maxConnections = MOST_CONNECTIONS
  server.on('drop', () => intake.refused++)
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) => reject(new Error(`${name} cannot be opened: ${error.message}`)))
    server.listen(at, resolve)
  })
  const address = server.address()
  return {
    port: typeof address === 'object' && address ? address.port : 0,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        for (const socket of open) socket.destroy()
      }),
  }
}

/** Cuts a stream into lines, or into frames with their length in four little-endian bytes before them: the first four bytes tell which. */
export class StreamReader {
  readonly #intake: Intake
  #held: Buffer = Buffer.alloc(0)
  #framed: boolean | undefined

  constructor(intake: Intake) {
    this.#intake = intake
  }

  /** False: what comes cannot be read on. */
  push(chunk: Buffer): boolean {
    const data = this.#held.length === 0 ? chunk : Buffer.concat([this.#held, chunk])
    // Text has no zero byte; a length below 16 MiB ends with one.
    if (this.#framed === undefined && data.length >= 4) this.#framed = data[3] === 0
    this.#held = this.#framed === undefined ? data : this.#framed ? this.#frames(data) : this.#lines(data)
    if (this.#held.length <= LARGEST + 4) return true
    this.#intake.refused++
    this.#held = Buffer.alloc(0)
    return false
  }

  /** The stream is over: a last line needs no newline. */
  end(): void {
    if (this.#held.length > 0 && !this.#framed) this.#intake.take(this.#held)
    this.#held = Buffer.alloc(0)
  }

  #lines(data: Buffer): Buffer {
    const last = data.lastIndexOf(10)
    if (last < 0) return data
    this.#intake.take(data.subarray(0, last))
    return Buffer.from(data.subarray(last + 1))
  }

  #frames(data: Buffer): Buffer {
    let at = 0
    while (data.length - at >= 4) {
      const length = data.readUInt32LE(at)
      // Too long to be kept: `push` ends it.
      if (length > LARGEST) return Buffer.alloc(LARGEST + 5)
      if (data.length - at - 4 < length) break
      this.#intake.take(data.subarray(at + 4, at + 4 + length))
      at += 4 + length
    }
    return Buffer.from(data.subarray(at))
  }
}
