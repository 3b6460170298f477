import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { FLAG, FRAME, type Http2Frame, h2Frame, hpack, PREFACE } from '../../../test/http2-frames.ts'
import { ClientPool, type PoolOptions } from './client-pool.ts'
import { type ClientStreamSink, Http2ClientStream } from './client-stream.ts'
import { encodeHeaders } from './hpack.ts'

export const LIMITS: PoolOptions = {
  tls: undefined,
  connectTimeout: 10_000,
  idleTimeout: 0,
  keepalive: undefined,
  streamWindow: 256 << 10,
  maxHeaderBlock: 100_000,
  maxHeaderSize: 65_536,
  maxConnections: 10,
  maxWaiting: 100,
}

/** A server's end of one connection: its frames are read and written one by one; it answers nothing on its own. */
export class ServerEnd {
  readonly socket: Socket
  readonly frames: Http2Frame[] = []
  closed = false
  #rest: Buffer = Buffer.alloc(0)
  #greeted = false
  #changed = new Set<() => void>()
  readonly #onFrame: ((frame: Http2Frame, end: ServerEnd) => void) | undefined

  constructor(socket: Socket, onFrame: ((frame: Http2Frame, end: ServerEnd) => void) | undefined) {
    this.socket = socket
    this.#onFrame = onFrame
    socket.on('data', (chunk: Buffer) => this.#read(chunk))
    socket.on('error', () => {})
    socket.on('close', () => {
      this.closed = true
      this.#tell()
    })
  }

  send(...frames: readonly Buffer[]): void {
    if (!this.closed) this.socket.write(Buffer.concat(frames))
  }

  /** The first frame, of those that came and those to come, that fits; undefined: the connection ended before. */
  async until(fits: (frame: Http2Frame) => boolean): Promise<Http2Frame | undefined> {
    for (let seen = 0; ; ) {
      for (; seen < this.frames.length; seen++) {
        const frame = this.frames[seen] as Http2Frame
        if (fits(frame)) return frame
      }
      if (this.closed) return undefined
      await new Promise<void>((resolve) => this.#changed.add(resolve))
    }
  }

  #tell(): void {
    for (const resolve of this.#changed) resolve()
    this.#changed.clear()
  }

  #read(chunk: Buffer): void {
    let bytes = Buffer.concat([this.#rest, chunk])
    if (!this.#greeted && bytes.length >= PREFACE.length) {
      this.#greeted = true
      bytes = bytes.subarray(PREFACE.length)
    }
    while (this.#greeted && bytes.length >= 9) {
      const length = bytes.readUIntBE(0, 3)
      if (bytes.length < 9 + length) break
      const frame = {
        type: bytes[3] as number,
        flags: bytes[4] as number,
        stream: bytes.readUInt32BE(5),
        payload: bytes.subarray(9, 9 + length),
      }
      bytes = bytes.subarray(9 + length)
      this.frames.push(frame)
      this.#onFrame?.(frame, this)
    }
    this.#rest = bytes
    this.#tell()
  }
}

/** SETTINGS as a frame, from pairs of identifier and value. */
export function settings(...values: readonly (readonly [number, number])[]): Buffer {
  const payload = Buffer.alloc(values.length * 6)
  values.forEach(([id, value], index) => {
    payload.writeUInt16BE(id, index * 6)
    payload.writeUInt32BE(value, index * 6 + 2)
  })
  return h2Frame(FRAME.SETTINGS, 0, 0, payload)
}

export interface HandServer {
  /** What is said first on each connection. Default: empty SETTINGS. */
  hello?: Buffer
  onFrame?: (frame: Http2Frame, end: ServerEnd) => void
}

/** A server by hand and a client's pool that talks to it. */
export async function handServer(by: HandServer = {}, limits: Partial<PoolOptions> = {}) {
  const ends: ServerEnd[] = []
  const changed = new Set<() => void>()
  const server = createServer({ noDelay: true }, (socket) => {
    const end = new ServerEnd(socket, by.onFrame)
    ends.push(end)
    end.send(by.hello ?? settings())
    for (const resolve of changed) resolve()
    changed.clear()
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = `127.0.0.1:${(server.address() as AddressInfo).port}`
  const pool = new ClientPool({ ...LIMITS, ...limits })
  return {
    ends,
    pool,
    address,
    ask: (body?: Buffer | null, listen?: Partial<ClientStreamSink>) => ask(pool, address, body, listen),
    /** The connection of this number, from 0, once it is there. */
    async end(index: number): Promise<ServerEnd> {
      while (!ends[index]) await new Promise<void>((resolve) => changed.add(resolve))
      return ends[index] as ServerEnd
    },
    stopListening: () => void server.close(),
    async [Symbol.asyncDispose]() {
      await pool.destroy()
      for (const { socket } of ends) socket.destroy()
      server.close()
    },
  }
}

/** How a request ended. */
export interface Outcome {
  status: number
  body: Buffer
  trailers: readonly string[] | undefined
  stream: Http2ClientStream
}

/** One request. `body`: sent at once; null: nothing is sent and the request stays open. */
export function ask(
  pool: ClientPool,
  address: string,
  body: Buffer | null = Buffer.from('x'),
  listen: Partial<ClientStreamSink> = {},
): { stream: Http2ClientStream; outcome: Promise<Outcome> } {
  const head = [':method', 'POST', ':scheme', 'http', ':path', '/x', ':authority', 'localhost']
  const stream = new Http2ClientStream(encodeHeaders(head))
  const chunks: Buffer[] = []
  let status = 0
  let trailers: readonly string[] | undefined
  const outcome = new Promise<Outcome>((resolve) => {
    stream.sink = {
      opened() {},
      head(headers) {
        status = Number(headers[':status'])
      },
      data: (chunk) => void chunks.push(Buffer.from(chunk)),
      replyEnd: (_, raw) => {
        trailers = raw
      },
      drained() {},
      streamClosed: () => resolve({ status, body: Buffer.concat(chunks), trailers, stream }),
      ...listen,
    }
  })
  pool.request(address, stream)
  if (body) stream.end(body)
  return { stream, outcome }
}

/** The head of a reply as one frame. */
export function replyHead(id: number, more: readonly (readonly [string, string])[] = [], flags: number = FLAG.END_HEADERS): Buffer {
  return h2Frame(FRAME.HEADERS, flags, id, hpack([[':status', '200'], ...more]))
}

/** Fields as one frame, whatever they are. */
export function fields(id: number, list: readonly (readonly [string, string])[], flags: number = FLAG.END_HEADERS): Buffer {
  return h2Frame(FRAME.HEADERS, flags, id, hpack(list))
}

export function data(id: number, size: number, flags = 0): Buffer {
  return h2Frame(FRAME.DATA, flags, id, Buffer.alloc(size))
}

/** A whole reply: `done`, then trailers. */
export function wholeReply(id: number): Buffer {
  return Buffer.concat([
    replyHead(id),
    h2Frame(FRAME.DATA, 0, id, Buffer.from('done')),
    fields(id, [['x-end', 'yes']], FLAG.END_HEADERS | FLAG.END_STREAM),
  ])
}
