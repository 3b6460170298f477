import { connect, type Socket } from 'node:net'
import { createGrpcClient, type GrpcClient } from '../src/transport/grpc/client.ts'
import type { GrpcStatus } from '../src/transport/grpc/status.ts'

/**
 * One load generator process: keeps `connections` HTTP/1.1 requests under way for a time, over raw sockets so that it
 * costs little beside what it measures. Takes a Load by IPC and answers with a LoadResult; any number of times.
 */
export interface Load {
  port: number
  /** The whole request, head and body. */
  request: string
  /** Where in it 16 digits are to be written over at each sending: microseconds of the machine's monotonic clock. */
  stamp?: number | undefined
  /** Sent over gRPC instead, all calls on one connection. */
  grpc?: { path: string; message: string; metadata: Record<string, string> } | undefined
  connections: number
  milliseconds: number
}

export interface LoadResult {
  requests: number
  /** Answers outside 2xx. */
  bad: number
  /** Of them 429, and RESOURCE_EXHAUSTED. */
  shed: number
  /** How the first of the other bad ones begins. */
  worst?: string
  elapsedMilliseconds: number
  p50Microseconds: number
  p99Microseconds: number
}

/** Latencies kept; later ones count as requests only. */
const MAX_TIMES = 2_000_000
const HEAD_END = Buffer.from('\r\n\r\n')

process.on('message', (load: Load) => {
  run(load).then(
    (result) => process.send?.({ result }),
    (error: unknown) => process.send?.({ error: String(error) }),
  )
})
process.on('disconnect', () => process.exit(0))

async function run(load: Load): Promise<LoadResult> {
  const request = Buffer.from(load.request)
  const client = load.grpc && createGrpcClient()
  const times: number[] = []
  const result: { requests: number; bad: number; shed: number; worst?: string } = { requests: 0, bad: 0, shed: 0 }
  const start = performance.now()
  const end = start + load.milliseconds
  await Promise.all(
    Array.from({ length: load.connections }, () => {
      const answered = (microseconds: number, ok: boolean, shed: boolean, told: () => string) => {
        result.requests++
        if (!ok) result.bad++
        if (shed) result.shed++
        else if (!ok) result.worst ??= told()
        if (times.length < MAX_TIMES) times.push(microseconds)
        return performance.now() < end
      }
      return client && load.grpc
        ? oneCaller(client, load.port, load.grpc, answered)
        : oneConnection(load.port, Buffer.from(request), load.stamp, answered)
    }),
  )
  await client?.[Symbol.asyncDispose]()
  const sorted = Float64Array.from(times).sort()
  const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN
  return { ...result, elapsedMilliseconds: performance.now() - start, p50Microseconds: at(0.5), p99Microseconds: at(0.99) }
}

/** Hears of each answer; whether to go on. */
type Answered = (microseconds: number, ok: boolean, shed: boolean, told: () => string) => boolean

/** Sends the request again as long as `answered` wants more; rejects when the server ends the connection. */
function oneConnection(port: number, request: Buffer, stamp: number | undefined, answered: Answered): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket: Socket = connect({ port, host: '127.0.0.1', noDelay: true })
    let sent = 0
    let buffered: Buffer = Buffer.alloc(0)
    const send = () => {
      if (stamp !== undefined) {
        const [seconds, nanoseconds] = process.hrtime()
        request.write(String(Math.floor(seconds * 1e6 + nanoseconds / 1e3)).padStart(16, '0'), stamp, 'latin1')
      }
      sent = performance.now()
      socket.write(request)
    }
    socket.once('connect', send)
    socket.on('data', (chunk: Buffer) => {
      buffered = buffered.length === 0 ? chunk : Buffer.concat([buffered, chunk])
      const length = answerLength(buffered)
      if (length < 0) return
      const ok = buffered[9] === 0x32
      const shed = buffered.toString('latin1', 9, 12) === '429'
      const answer = buffered
      buffered = buffered.subarray(length)
      if (answered((performance.now() - sent) * 1000, ok, shed, () => answer.toString('utf8', 0, Math.min(length, 600)))) return send()
      resolve()
      socket.destroy()
    })
    socket.once('error', reject)
    socket.once('close', () => reject(new Error('the sidecar closed the connection')))
  })
}

/** Makes the call again as long as `answered` wants more. */
async function oneCaller(client: GrpcClient, port: number, call: NonNullable<Load['grpc']>, answered: Answered): Promise<void> {
  const message = Buffer.from(call.message, 'base64')
  for (;;) {
    const sent = performance.now()
    const status = await client.unary(`127.0.0.1:${port}`, call.path, message, { headers: call.metadata }).then(
      () => undefined,
      (error: GrpcStatus) => error,
    )
    if (!answered((performance.now() - sent) * 1000, !status, status?.code === 8, () => String(status))) return
  }
}

/** Bytes of the first whole answer, or -1 while it is not all there. */
function answerLength(buffer: Buffer): number {
  const head = buffer.indexOf(HEAD_END)
  if (head < 0) return -1
  const text = buffer.toString('latin1', 0, head)
  const declared = /\r\ncontent-length: *(\d+)/i.exec(text)
  if (declared) {
    const whole = head + 4 + Number(declared[1])
    return buffer.length >= whole ? whole : -1
  }
  if (text.startsWith('204', 9)) return head + 4
  if (!/\r\ntransfer-encoding: *chunked/i.test(text)) throw new Error(`an answer without a length: ${text}`)
  return buffer.subarray(-5).equals(Buffer.from('0\r\n\r\n')) ? buffer.length : -1
}
