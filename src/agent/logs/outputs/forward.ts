import { randomBytes } from 'node:crypto'
import { connect as connectTcp, type Socket } from 'node:net'
import { hostname } from 'node:os'
import { connect as connectTls } from 'node:tls'
import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import { messageOf } from '../../../errors.ts'
import type { RoleContext } from '../../role.ts'
import type { LogEvent } from '../event.ts'
import { ClientHandshake, type Credentials } from '../fluent/handshake.ts'
import { Packer } from '../fluent/pack.ts'
import { ValueStream } from '../fluent/stream.ts'
import { Unpacker } from '../fluent/unpack.ts'
import type { ForwardOutputSpec } from '../spec.ts'
import { hostAndPort, milliseconds, secretOf, tlsOptions } from '../values.ts'
import { NONE, type Sink } from './sink.ts'

const compress = promisify(gzip)
const DEFAULT_PORT = 24_224
/** Bytes of an answer. */
const ANSWER = 1 << 20

/** One connection, and what the other side says on it. */
class Line {
  readonly socket: Socket
  readonly #stream = new ValueStream(ANSWER)
  readonly #messages: Buffer[] = []
  #failure: Error | undefined
  #wake: (() => void) | undefined

  constructor(socket: Socket) {
    this.socket = socket
    socket.on('data', (piece: Buffer) => {
      try {
        this.#messages.push(...this.#stream.push(piece))
      } catch (error) {
        socket.destroy(error as Error)
      }
      this.#wake?.()
    })
    const gone = (error?: Error) => {
      this.#failure ??= error ?? new Error('the connection was closed')
      this.#wake?.()
    }
    socket.on('error', gone).on('close', () => gone())
  }

  get gone(): boolean {
    return this.#failure !== undefined
  }

  /** The next message; rejects when the connection is gone or the signal aborts. */
  async next(signal: AbortSignal): Promise<Buffer> {
    for (;;) {
      const message = this.#messages.shift()
      if (message) return message
      if (this.#failure) throw this.#failure
      signal.throwIfAborted()
      await new Promise<void>((resolve) => {
        this.#wake = resolve
        signal.addEventListener('abort', () => resolve(), { once: true })
      })
    }
  }

  async write(bytes: Buffer): Promise<void> {
    if (this.#failure) throw this.#failure
    await new Promise<void>((resolve, reject) => this.socket.write(bytes, (error) => (error ? reject(error) : resolve())))
  }
}

/** Fluentd's forward protocol: packed entries, one message for each tag of a batch, each acknowledged. */
export async function openForward(spec: ForwardOutputSpec, where: string, context: RoleContext): Promise<Sink> {
  const servers = spec.servers.map((server) => hostAndPort(server, DEFAULT_PORT))
  const sharedKey = await secretOf(spec.sharedKey, `${where}.sharedKey`, context)
  const password = await secretOf(spec.password, `${where}.password`, context)
  const own: Credentials | undefined =
    sharedKey === undefined ? undefined : { hostname: spec.hostname ?? hostname(), sharedKey, user: spec.user, password }
  const timeout = milliseconds(spec.requestTimeout, 30_000)
  const { ack = true, gzip: packs = false } = spec
  const packer = new Packer()
  const tls = spec.secure ? tlsOptions(spec.tls) : undefined
  let line: Line | undefined
  let at = 0

  const open = async (signal: AbortSignal): Promise<Line> => {
    let failure: unknown
    for (let tried = 0; tried < servers.length; tried++) {
      const server = servers[at] as { host: string; port: number }
      let fresh: Line | undefined
      try {
        fresh = new Line(await dial(server, tls, signal))
        if (own) {
          const handshake = new ClientHandshake(own)
          await fresh.write(handshake.ping(await fresh.next(signal)))
          handshake.check(await fresh.next(signal))
        }
        return fresh
      } catch (error) {
        fresh?.socket.destroy()
        failure = new Error(`${server.host}:${server.port}: ${messageOf(error)}`, { cause: error })
        at = (at + 1) % servers.length
      }
    }
    throw failure
  }

  const messageOfGroup = async (tag: string, events: readonly LogEvent[], chunk: string | undefined): Promise<Buffer> => {
    for (const { time, record } of events) packer.array(2).eventTime(time).value(record)
    const entries = packer.take()
    const option: Record<string, unknown> = { size: events.length }
    if (chunk !== undefined) option.chunk = chunk
    if (packs) option.compressed = 'gzip'
    return packer
      .array(3)
      .text(tag)
      .binary(packs ? await compress(entries, { level: 1 }) : entries)
      .value(option)
      .take()
  }

  return {
    async send(events, stop) {
      const signal = AbortSignal.any([stop, AbortSignal.timeout(timeout)])
      if (!line || line.gone) line = await open(signal)
      const to = line
      try {
        const waiting = new Set<string>()
        for (const [tag, group] of Map.groupBy(events, (event) => event.tag)) {
          const chunk = ack ? randomBytes(16).toString('base64') : undefined
          await to.write(await messageOfGroup(tag, group, chunk))
          if (chunk !== undefined) waiting.add(chunk)
        }
        while (waiting.size > 0) {
          const answer = new Unpacker(await to.next(signal)).next() as { ack?: unknown } | null
          const given = answer?.ack
          waiting.delete(Buffer.isBuffer(given) ? given.toString('utf8') : String(given))
        }
        return NONE
      } catch (error) {
        to.socket.destroy()
        line = undefined
        const { host, port } = servers[at] as { host: string; port: number }
        at = (at + 1) % servers.length
        throw new Error(`${host}:${port}: ${error === signal.reason && !stop.aborted ? 'no acknowledgement came' : messageOf(error)}`, {
          cause: error,
        })
      }
    },
    async [Symbol.asyncDispose]() {
      line?.socket.destroySoon()
    },
  }
}

function dial(
  server: { host: string; port: number },
  tls: ReturnType<typeof tlsOptions> | undefined,
  signal: AbortSignal,
): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const abort = () => socket.destroy(signal.reason as Error)
    const done = () => {
      signal.removeEventListener('abort', abort)
      resolve(socket)
    }
    const socket: Socket = tls ? connectTls({ ...server, servername: server.host, ...tls }, done) : connectTcp(server, done)
    socket.once('error', (error) => {
      signal.removeEventListener('abort', abort)
      reject(error)
    })
    signal.addEventListener('abort', abort, { once: true })
    if (signal.aborted) abort()
  })
}
