import { createSocket, type Socket as UdpSocket } from 'node:dgram'
import { createServer, type Server, type Socket } from 'node:net'
import { hostname } from 'node:os'
import { messageOf } from '../../../errors.ts'
import { pause } from '../../../waiting.ts'
import type { RoleContext } from '../../role.ts'
import { type Credentials, ServerHandshake } from '../fluent/handshake.ts'
import { readMessage } from '../fluent/message.ts'
import { Packer } from '../fluent/pack.ts'
import { ValueStream } from '../fluent/stream.ts'
import type { Intake, Source } from '../intake.ts'
import type { ForwardSourceSpec } from '../spec.ts'
import { bytesOf, secretOf } from '../values.ts'

const DEFAULT_PORT = 24_224
const CONNECTIONS = 1000
/** For a client to show that it knows the key, milliseconds. */
const HANDSHAKE = 10_000
/** For the messages that are there when the source closes, milliseconds. */
const GRACE = 1000

/** A server of Fluentd's forward protocol. A message is acknowledged when its events are on disk; a connection is not read while there is no room. */
export class ForwardSource implements Source {
  readonly #intake: Intake
  readonly #limit: number
  readonly #own: Credentials | undefined
  readonly #users: ReadonlyMap<string, string>
  readonly #stop = new AbortController()
  readonly #server: Server
  readonly #open = new Map<Socket, Promise<void>>()
  #heartbeats: UdpSocket | undefined

  private constructor(intake: Intake, limit: number, own: Credentials | undefined, users: ReadonlyMap<string, string>) {
    this.#intake = intake
    this.#limit = limit
    this.#own = own
    this.#users = users
    this.#server = createServer((socket) => {
      const running = this.#serve(socket).finally(() => this.#open.delete(socket))
      this.#open.set(socket, running)
    })
    this.#server.maxConnections = CONNECTIONS
  }

  /** Rejects when its port is taken, or a secret is missing. */
  static async open(spec: ForwardSourceSpec, where: string, intake: Intake, context: RoleContext): Promise<ForwardSource> {
    const sharedKey = await secretOf(spec.sharedKey, `${where}.sharedKey`, context)
    const users = new Map<string, string>()
    for (const { name, password } of spec.users ?? []) users.set(name, (await secretOf(password, `${where}.users`, context)) ?? '')
    if (users.size > 0 && sharedKey === undefined) throw new Error(`${where}.users needs sharedKey as well`)
    const own = sharedKey === undefined ? undefined : { hostname: spec.hostname ?? hostname(), sharedKey }
    const source = new ForwardSource(intake, bytesOf(spec.maxMessage, 16 << 20), own, users)
    await source.#listen(spec.host ?? '127.0.0.1', spec.port ?? DEFAULT_PORT)
    return source
  }

  get port(): number {
    const address = this.#server.address()
    return address && typeof address === 'object' ? address.port : 0
  }

  async #listen(host: string, port: number): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', (error) => reject(new Error(`port ${port} for the forward protocol cannot be opened: ${error.message}`)))
      this.#server.listen({ host, port }, resolve)
    })
    this.#server.on('error', (error) => this.#intake.log.warn(`forward: ${error.message}`))
    // Some clients ask over UDP whether the server is there; they do without.
    const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4')
    socket.on('message', (_, from) => socket.send(Buffer.from([0]), from.port, from.address, () => undefined))
    socket.on('error', (error) => {
      this.#intake.log.info(`forward: no heartbeats over UDP: ${error.message}`)
      socket.close()
      if (this.#heartbeats === socket) this.#heartbeats = undefined
    })
    socket.bind(this.port, host)
    this.#heartbeats = socket
  }

  async #serve(socket: Socket): Promise<void> {
    const { signal } = this.#stop
    socket.on('error', () => undefined)
    const late = this.#own && setTimeout(() => socket.destroy(), HANDSHAKE)
    const stream = new ValueStream(this.#limit)
    let handshake = this.#own && new ServerHandshake(this.#own, this.#users)
    try {
      if (handshake) socket.write(handshake.hello())
      for await (const piece of socket) {
        for (const message of stream.push(piece as Buffer)) {
          if (handshake) {
            const { pong, refused } = handshake.answer(message)
            socket.write(pong)
            if (refused !== undefined) throw new Error(refused)
            handshake = undefined
            clearTimeout(late)
          } else await this.#take(message, socket)
          if (signal.aborted) return
        }
      }
    } catch (error) {
      if (!signal.aborted && !isGone(error))
        this.#intake.log.warn(`forward: ${socket.remoteAddress ?? 'a client'} is cut off: ${messageOf(error)}`)
    } finally {
      clearTimeout(late)
      if (socket.writableLength > 0 && !socket.destroyed) socket.destroySoon()
      else socket.destroy()
    }
  }

  async #take(message: Buffer, socket: Socket): Promise<void> {
    const { events, odd, chunk } = await readMessage(message, this.#limit)
    if (odd > 0) this.#intake.unparsed(odd)
    await this.#intake.room(this.#stop.signal)
    if (this.#stop.signal.aborted && this.#intake.full) throw new Error('the buffer is full and the process stops')
    await this.#intake.take(events)
    if (chunk !== undefined && !socket.destroyed) socket.write(new Packer().map(1).text('ack').text(chunk).take())
  }

  status() {
    return { connections: this.#open.size }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve))
    this.#heartbeats?.close()
    this.#stop.abort()
    const running = Promise.allSettled(this.#open.values())
    for (const socket of this.#open.keys()) if (socket.readableLength === 0) socket.destroySoon()
    const rest = new AbortController()
    await Promise.race([running, pause(GRACE, rest.signal)])
    rest.abort()
    for (const socket of this.#open.keys()) socket.destroy()
    await running
    await closed
  }
}

function isGone(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException
  return code === 'ECONNRESET' || code === 'EPIPE' || code === 'ERR_STREAM_PREMATURE_CLOSE'
}
