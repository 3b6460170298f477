import type { Socket } from 'node:net'
import { messageOf } from '../../errors.ts'
import type { InputOf } from '../../transport/grpc/message.ts'
import { ProtoReader } from '../../transport/grpc/wire.ts'
import { gatherWrites } from '../gather-writes.ts'
import { BaseCommand, Type } from './commands.ts'
import { type ConnectionOptions, open, unreachable } from './dial.ts'
import { PulsarError, UnreachableError } from './errors.ts'
import { readMessage, readReceipt } from './hot.ts'
import { type Command, Requests } from './requests.ts'

type Outgoing = InputOf<typeof BaseCommand>

/** Who hears of what the broker says to a producer or a consumer. */
export interface Listener {
  /** The broker ends it, or the connection is lost: it has to be made anew. */
  lost(error: Error): void
}
export interface ProducerListener extends Listener {
  receipt(sequenceId: number): void
  sendError(sequenceId: number, error: PulsarError): void
}
export interface ConsumerListener extends Listener {
  /** `at`: where in the frame the command ends. */
  message(message: ReturnType<typeof readMessage>, frame: Buffer, at: number): void
}

const VERSION = 'outrider'
/** v19, the protocol of Pulsar 2.10 and later. */
const PROTOCOL = 19
const CONFIRMING = 17
/** Milliseconds without a word until the broker is asked for one, and until it counts as gone. */
const KEEP_ALIVE = 10_000
const PONG_LIMIT = 5000
const MOST_FRAME = 128 * 2 ** 20
const DEFAULT_MOST_MESSAGE = 5 * 2 ** 20

/** One connection to one broker, for all producers and consumers of the component that it serves. */
export class Connection {
  readonly address: string
  readonly producers = new Map<number, ProducerListener>()
  readonly consumers = new Map<number, ConsumerListener>()
  /** Largest message that the broker takes, bytes. */
  mostMessage = DEFAULT_MOST_MESSAGE
  /** The broker answers to acknowledgements (Pulsar 2.8 and later). */
  confirms = false
  readonly #socket: Socket
  readonly #options: ConnectionOptions
  readonly #onEnd: (connection: Connection) => void
  readonly #requests: Requests
  #pongs: ((error?: Error) => void)[] = []
  #greeting: Pick<PromiseWithResolvers<Command>, 'resolve' | 'reject'> | undefined
  #chunks: Buffer[] = []
  #size = 0
  #wanted = 4
  #heard = 0
  #beat: NodeJS.Timeout | undefined
  #ended: Error | undefined

  private constructor(socket: Socket, address: string, options: ConnectionOptions, onEnd: (connection: Connection) => void) {
    this.#socket = socket
    this.address = address
    this.#requests = new Requests(address)
    this.#options = options
    this.#onEnd = onEnd
    socket.setNoDelay(true)
    gatherWrites(socket)
    socket.on('data', (chunk: Buffer) => this.#receive(chunk))
    socket.on('error', (error) => this.end(unreachable(`the connection to ${address} broke`, error)))
    socket.on('close', () => this.end(new UnreachableError(`the broker at ${address} closed the connection`)))
  }

  /** Connects and signs in. `through`: the broker meant, when `host` is a proxy. Rejects with an Error that names the address, and why. */
  static async open(
    { host, port, through }: { host: string; port: number; through?: string | undefined },
    options: ConnectionOptions,
    signal: AbortSignal,
    onEnd: (connection: Connection) => void,
  ): Promise<Connection> {
    const address = `${host}:${port}`
    const until = Date.now() + options.timeout
    const socket = await open(host, port, address, options, signal)
    const connection = new Connection(socket, address, options, onEnd)
    const abort = () => connection.end(new UnreachableError('the component is closing'))
    signal.addEventListener('abort', abort)
    try {
      await connection.#greet(through, Math.max(1, until - Date.now()))
      return connection
    } catch (error) {
      connection.end(error as Error)
      throw error
    } finally {
      signal.removeEventListener('abort', abort)
    }
  }

  get usable(): boolean {
    return this.#ended === undefined
  }

  async #greet(through: string | undefined, limit: number): Promise<void> {
    const { auth } = this.#options
    const authData = auth && Buffer.from(await auth.data())
    const { promise, resolve, reject } = Promise.withResolvers<Command>()
    const timer = setTimeout(() => reject(new UnreachableError(`the broker at ${this.address} does not answer within ${limit} ms`)), limit)
    this.#greeting = { resolve, reject }
    if (this.#ended) reject(this.#ended)
    const features = { authRefresh: true }
    const connect = { clientVersion: VERSION, protocolVersion: PROTOCOL, authMethod: auth?.method ?? 'none', authData, features }
    this.#tell({ type: Type.connect, connect: { ...connect, ...(through ? { proxyToBroker: through } : {}) } })
    try {
      const { connected } = await promise
      this.confirms = (connected?.protocolVersion ?? 0) >= CONFIRMING
      this.mostMessage = connected?.maxMessageSize || DEFAULT_MOST_MESSAGE
    } finally {
      clearTimeout(timer)
      this.#greeting = undefined
    }
    this.#heard = Date.now()
    this.#beat = setInterval(() => this.#check(), KEEP_ALIVE / 2).unref()
  }

  /** Sends a command that the broker answers under its `requestId`. Rejects with PulsarError, or UnreachableError after the limit. */
  ask(make: (requestId: number) => Outgoing, limit = this.#options.timeout): Promise<Command> {
    if (this.#ended) return Promise.reject(this.#ended)
    return this.#requests.add(limit, (id) => this.#tell(make(id)))
  }

  /** The same for a frame that is encoded already. */
  expect(limit: number, make: (requestId: number) => Buffer): Promise<Command> {
    if (this.#ended) return Promise.reject(this.#ended)
    return this.#requests.add(limit, (id) => void this.#socket.write(make(id)))
  }

  /** Writes a whole frame; all that one turn of the event loop writes goes out together. */
  write(frame: Buffer): void {
    if (this.#ended === undefined) this.#socket.write(frame)
  }

  /** Resolves when the broker has answered a ping. */
  ping(): Promise<void> {
    if (this.#ended) return Promise.reject(this.#ended)
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.end(this.#silent()), PONG_LIMIT)
      this.#pongs.push((error) => {
        clearTimeout(timer)
        if (error) reject(error)
        else resolve()
      })
      this.#tell({ type: Type.ping, ping: {} })
    })
  }

  #silent(): UnreachableError {
    return new UnreachableError(`the broker at ${this.address} gives no sign of life for ${PONG_LIMIT / 1000} s`)
  }

  #check(): void {
    if (Date.now() - this.#heard >= KEEP_ALIVE && this.#pongs.length === 0) this.ping().catch(() => {})
  }

  #tell(command: Outgoing): void {
    this.#command(BaseCommand.encode(command))
  }

  #command(command: Buffer): void {
    const head = Buffer.allocUnsafe(8)
    head.writeUInt32BE(command.length + 4, 0)
    head.writeUInt32BE(command.length, 4)
    this.#socket.write(Buffer.concat([head, command]))
  }

  #receive(chunk: Buffer): void {
    this.#heard = Date.now()
    this.#chunks.push(chunk)
    this.#size += chunk.length
    if (this.#size < this.#wanted) return
    const bytes = this.#chunks.length === 1 ? (this.#chunks[0] as Buffer) : Buffer.concat(this.#chunks, this.#size)
    let at = 0
    this.#wanted = 4
    while (bytes.length - at >= 4 && this.#ended === undefined) {
      const size = bytes.readUInt32BE(at)
      if (size < 4 || size > MOST_FRAME)
        return this.end(
          new UnreachableError(`what ${this.address} answers is not Pulsar's protocol: check the port in host, and pulsar+ssl:// for TLS`),
        )
      if (bytes.length - at < size + 4) {
        this.#wanted = size + 4
        break
      }
      try {
        this.#frame(bytes.subarray(at, at + 4 + size))
      } catch (error) {
        return this.end(new UnreachableError(`what ${this.address} says cannot be read: ${messageOf(error)}`))
      }
      at += size + 4
    }
    this.#size = bytes.length - at
    this.#chunks = this.#size === 0 ? [] : [bytes.subarray(at)]
  }

  #frame(frame: Buffer): void {
    const end = 8 + frame.readUInt32BE(4)
    // Every writer puts the type first; the part of that number follows.
    const reader = new ProtoReader(frame, 8, end)
    reader.next()
    const type = reader.uint()
    if (type === Type.receipt || type === Type.message) {
      while (reader.next() && reader.field !== type) reader.skip()
      if (type === Type.receipt) {
        const { producerId, sequenceId } = readReceipt(reader.message())
        this.producers.get(producerId)?.receipt(sequenceId)
      } else {
        const message = readMessage(reader.message())
        this.consumers.get(message.consumerId)?.message(message, frame, end)
      }
    } else this.#answer(type, BaseCommand.decode(frame.subarray(8, end)))
  }

  #answer(type: number, command: Command): void {
    switch (type) {
      case Type.connected:
        return this.#greeting?.resolve(command)
      case Type.ping:
        return this.#tell({ type: Type.pong, pong: {} })
      case Type.pong:
        for (const done of this.#pongs.splice(0)) done()
        return
      case Type.error:
        if (this.#greeting) return this.#greeting.reject(new PulsarError(command.error?.error ?? 0, command.error?.message ?? ''))
        return this.#requests.answer(command)
      case Type.sendError: {
        const { producerId = 0, sequenceId = 0, error = 0, message = '' } = command.sendError ?? {}
        return this.producers.get(producerId)?.sendError(sequenceId, new PulsarError(error, message))
      }
      case Type.closeProducer:
        return this.#dismiss(this.producers, command.closeProducer?.id)
      case Type.closeConsumer:
        return this.#dismiss(this.consumers, command.closeConsumer?.id)
      case Type.authChallenge:
        return void this.#prove()
      default:
        return this.#requests.answer(command)
    }
  }

  /** The broker hands the topic to another one, or is going. */
  #dismiss(from: Map<number, Listener>, id: number | undefined): void {
    const listener = id === undefined ? undefined : from.get(id)
    if (id === undefined || listener === undefined) return
    from.delete(id)
    listener.lost(new UnreachableError(`the broker at ${this.address} gave the topic away`))
  }

  /** The token has expired: the broker asks for the next one. */
  async #prove(): Promise<void> {
    const { auth } = this.#options
    try {
      const response = { method: auth?.method ?? 'none', data: Buffer.from((await auth?.data(true)) ?? '') }
      this.#tell({ type: Type.authResponse, authResponse: { clientVersion: VERSION, protocolVersion: PROTOCOL, response } })
    } catch (error) {
      this.end(new UnreachableError(`no token for the broker at ${this.address}: ${messageOf(error)}`))
    }
  }

  close(): void {
    this.end(new UnreachableError(`the connection to ${this.address} is closed`))
  }

  end(error: Error): void {
    if (this.#ended) return
    this.#ended = error
    clearInterval(this.#beat)
    this.#socket.destroy()
    this.#chunks = []
    this.#greeting?.reject(error)
    this.#requests.fail(error)
    for (const done of this.#pongs.splice(0)) done(error)
    this.#onEnd(this)
    for (const listener of [...this.producers.values(), ...this.consumers.values()]) listener.lost(error)
    this.producers.clear()
    this.consumers.clear()
  }
}
