import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { FLAG, FRAME, type Http2Frame, h2Frame, hpack, RawHttp2 } from '../../../test/http2-frames.ts'
import { accepted } from './accepted.ts'
import { type ConnectionOptions, Http2Connection } from './connection.ts'
import type { Http2Stream, StreamSink } from './stream.ts'

const LIMITS: ConnectionOptions = {
  maxStreams: 100,
  streamWindow: 256 << 10,
  maxHeaderBlock: 100_000,
  maxHeaderSize: 65_536,
  maxQueued: 64 << 20,
  resetBurst: 200,
  resetRate: 10,
}

/** A server of bare HTTP/2 for tests: `serve` has each stream; without it a request is answered with `done` when it has ended. */
export async function serveHttp2(serve?: (stream: Http2Stream) => void, limits: Partial<ConnectionOptions> = {}) {
  const connections: Http2Connection[] = []
  const server = createServer((socket) => {
    connections.push(
      new Http2Connection(
        accepted(socket),
        { ...LIMITS, ...limits },
        {
          onStream: serve ?? ((stream) => sink(stream, { requestEnd: () => reply(stream) })),
          onPing() {},
          onIdle() {},
          onClose() {},
        },
      ),
    )
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    connections,
    async [Symbol.asyncDispose]() {
      for (const connection of connections) connection.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}

/** Listens to a stream with the functions that matter. */
export function sink(stream: Http2Stream, some: Partial<StreamSink>): void {
  stream.sink = { data() {}, requestEnd() {}, streamClosed() {}, drained() {}, ...some }
}

export function reply(stream: Http2Stream, body = 'done'): void {
  stream.respond([':status', '200'])
  stream.end(Buffer.from(body), ['x-end', 'yes'])
}

const PSEUDO: readonly (readonly [string, string])[] = [
  [':method', 'POST'],
  [':scheme', 'http'],
  [':path', '/x'],
  [':authority', 'localhost'],
]

/** The head of a request as one frame. */
export function head(id: number, more: readonly (readonly [string, string])[] = [], flags: number = FLAG.END_HEADERS): Buffer {
  return h2Frame(FRAME.HEADERS, flags, id, hpack([...PSEUDO, ...more]))
}

/** A request without a body as one frame. */
export function whole(id: number): Buffer {
  return head(id, [], FLAG.END_HEADERS | FLAG.END_STREAM)
}

export interface Verdict {
  type: 'goaway' | 'reset' | 'served'
  code: number
}

/** What the server says first to frames: an error of the connection or of a stream, or a reply. */
export async function verdict(port: number, ...frames: readonly Buffer[]): Promise<Verdict | undefined> {
  using raw = await RawHttp2.connect(port)
  raw.send(...frames)
  const said = await raw.until(({ type }: Http2Frame) => type === FRAME.GOAWAY || type === FRAME.RST_STREAM || type === FRAME.HEADERS)
  if (!said) return undefined
  if (said.type === FRAME.HEADERS) return { type: 'served', code: 0 }
  return said.type === FRAME.GOAWAY
    ? { type: 'goaway', code: said.payload.readUInt32BE(4) }
    : { type: 'reset', code: said.payload.readUInt32BE(0) }
}
