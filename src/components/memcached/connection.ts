import { connect, type Socket } from 'node:net'
import { messageOf } from '../../errors.ts'
import { type MemcachedReply, MemcachedReplyReader } from './reply.ts'

export interface MemcachedConnectionOptions {
  host: string
  port: number
  /** Milliseconds for a connection to come up, and for each answer. */
  timeout: number
  /** Who asks, for messages: `state store carts`. */
  owner: string
}

/** Commands under way; beyond it the newest is refused. */
const MAX_PENDING = 10_000

interface Command {
  bytes: Buffer[]
  resolve(reply: MemcachedReply): void
  reject(error: Error): void
  /** When the answer is too late. */
  limit: number
  /** Sent over a connection that had been used before: it may have died unnoticed. */
  reused: boolean
  again: boolean
}

/**
 * One connection to one memcached server, text protocol. States: closed → connecting → open → closed …; a command opens it.
 * Commands go out as they come, answers come in the same order. One that is late takes the connection with it, for the answers
 * behind it would be taken for each other's.
 */
export class MemcachedConnection implements Disposable {
  readonly where: string
  readonly #options: MemcachedConnectionOptions
  #socket: Socket | undefined
  #open = false
  #used = false
  #over = false
  #pending: Command[] = []
  #head = 0
  #watch: NodeJS.Timeout | undefined

  constructor(options: MemcachedConnectionOptions) {
    this.#options = options
    this.where = `${options.host.includes(':') ? `[${options.host}]` : options.host}:${options.port}`
  }

  /** Sends a command, given with its line ends, and gives its answer. It may be sent twice: every command used here can be. */
  call(...bytes: Buffer[]): Promise<MemcachedReply> {
    return new Promise((resolve, reject) => {
      if (this.#over) return reject(new Error(`${this.#options.owner} is closed`))
      if (this.#pending.length - this.#head >= MAX_PENDING)
        return reject(
          new Error(`${this.#options.owner}: ${MAX_PENDING} commands wait for Memcached at ${this.where} already; send fewer at a time`),
        )
      this.#send({ bytes, resolve, reject, limit: Date.now() + this.#options.timeout, reused: this.#used, again: true })
    })
  }

  [Symbol.dispose](): void {
    this.#over = true
    this.#lose(new Error('closed'))
  }

  #send(command: Command): void {
    const socket = this.#socket ?? this.#connect()
    this.#pending.push(command)
    this.#watch ??= setTimeout(() => this.#check(), this.#options.timeout).unref()
    socket.ref()
    if (command.bytes.length > 1) socket.cork()
    for (const bytes of command.bytes) socket.write(bytes)
    if (command.bytes.length > 1) socket.uncork()
  }

  #connect(): Socket {
    const socket = connect({ host: this.#options.host, port: this.#options.port, noDelay: true, keepAlive: true })
    const reader = new MemcachedReplyReader((reply) => this.#answer(reply))
    this.#socket = socket
    this.#open = false
    this.#used = false
    socket.once('connect', () => {
      this.#open = true
    })
    socket.on('data', (chunk: Buffer) => {
      try {
        reader.push(chunk)
      } catch (error) {
        socket.destroy(error as Error)
      }
    })
    socket.on('error', (error) => this.#lose(error, socket))
    socket.on('close', () => this.#lose(new Error('the server closed the connection'), socket))
    return socket
  }

  #answer(reply: MemcachedReply): void {
    const command = this.#pending[this.#head++]
    if (!command) return void this.#socket?.destroy(new Error('an answer without a question'))
    this.#used = true
    if (this.#head === this.#pending.length) {
      this.#pending = []
      this.#head = 0
      this.#socket?.unref()
    } else if (this.#head > 1000) {
      this.#pending = this.#pending.slice(this.#head)
      this.#head = 0
    }
    command.resolve(reply)
  }

  /** The oldest command is the first to be late. */
  #check(): void {
    this.#watch = undefined
    const oldest = this.#pending[this.#head]
    if (!oldest) return
    const left = oldest.limit - Date.now()
    if (left > 0) this.#watch = setTimeout(() => this.#check(), left).unref()
    else this.#lose(new Error(`no ${this.#open ? 'answer' : 'connection'} within ${this.#options.timeout} ms`))
  }

  #lose(error: Error, socket = this.#socket): void {
    if (!socket || socket !== this.#socket) return
    this.#socket = undefined
    clearTimeout(this.#watch)
    this.#watch = undefined
    socket.destroy()
    const lost = this.#pending.slice(this.#head)
    this.#pending = []
    this.#head = 0
    const now = Date.now()
    const failure = new Error(
      `${this.#options.owner}: cannot reach Memcached at ${this.where}: ${messageOf(error)} (start the server or correct hosts; the next operation connects again)`,
      { cause: error },
    )
    for (const command of lost) {
      // A server that was restarted since the last command: one more try over a new connection.
      if (command.reused && command.again && command.limit > now && !this.#over) this.#send({ ...command, again: false })
      else command.reject(failure)
    }
  }
}
