import type { Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { dial } from '../dial.ts'
import { NextTry } from '../next-try.ts'
import { redisAdvice, withoutRoom } from './advice.ts'
import type { Argument, RedisClient, RedisClientOptions, Script } from './client.ts'
import { RENEW_AGAIN, type RedisUser } from './login.ts'
import { asText, RedisReplyError, type Reply, readReplies } from './reply.ts'
import { type Command, SentCommands } from './sent.ts'
import { CommandWriter } from './writer.ts'

/** Milliseconds that the server has to answer QUIT. */
const FAREWELL = 500
/** Milliseconds that a command has for its other tries, beyond the time for an answer. */
const GRACE = 2000
/** Commands that wait while the server is away; beyond it the newest is refused. */
const MAX_WAITING = 10_000
const SUBSCRIPTION = /^P?(UN)?SUBSCRIBE$/

/**
 * One connection to one server, RESP2. States: closed → connecting → ready → (lost → connecting …) → over.
 * Commands given in one turn of the event loop leave in one write. ioredis costs 12 MiB and 70 ms at start and about twice
 * the CPU per command; it stays for clusters and sentinels.
 */
export class RedisConnection implements RedisClient {
  readonly isCluster = false
  readonly #options: RedisClientOptions
  readonly #maxRetries: number
  readonly #commandTimeout: number
  /** Milliseconds for a command with all its tries. */
  readonly #patience: number
  #socket: Socket | undefined
  #ready = false
  #over = false
  #attempts = 0
  readonly #next = new NextTry()
  readonly #ending = new AbortController()
  #watch: NodeJS.Timeout | undefined
  #impatience: NodeJS.Timeout | undefined
  #renewal: NodeJS.Timeout | undefined
  #lostAt = 0
  #reason: Error | undefined
  readonly #pending = new SentCommands()
  /** Not sent yet. */
  #waiting: Command[] = []
  #writer: CommandWriter | undefined

  constructor(options: RedisClientOptions) {
    this.#options = options
    this.#maxRetries = options.maxRetries ?? 3
    this.#commandTimeout = options.commandTimeout ?? 3000
    this.#patience = this.#commandTimeout > 0 ? this.#commandTimeout + GRACE : Number.POSITIVE_INFINITY
  }

  get ready(): boolean {
    return this.#ready
  }

  async connect(signal?: AbortSignal): Promise<void> {
    const abort = () => this.disconnect()
    signal?.throwIfAborted()
    signal?.addEventListener('abort', abort, { once: true })
    try {
      await this.#open()
    } catch (error) {
      this.disconnect()
      throw signal?.aborted ? signal.reason : error
    } finally {
      signal?.removeEventListener('abort', abort)
    }
  }

  callBuffer(name: string, ...args: Argument[]): Promise<Reply> {
    return new Promise((resolve, reject) => this.#give({ name, args, resolve, reject, attempts: 0, given: 0, sent: 0 }))
  }

  async call(name: string, ...args: Argument[]): Promise<unknown> {
    return asText(await this.callBuffer(name, ...args))
  }

  async script(script: Script, keys: readonly string[], args: readonly Argument[]): Promise<unknown> {
    try {
      return await this.call('EVALSHA', script.sha, keys.length, ...keys, ...args)
    } catch (error) {
      if (!(error instanceof RedisReplyError) || !error.message.startsWith('NOSCRIPT')) throw error
      return this.call('EVAL', script.text, keys.length, ...keys, ...args)
    }
  }

  masters(): Pick<RedisClient, 'call'>[] {
    return [this]
  }

  async close(): Promise<void> {
    if (this.#ready) {
      // A server that hangs is not waited for: what was answered is safe without a farewell.
      const late = new Promise<void>((resolve) => setTimeout(resolve, FAREWELL).unref())
      await Promise.race([this.call('QUIT').catch(() => undefined), late])
    }
    this.disconnect()
  }

  disconnect(): void {
    if (this.#over) return
    this.#over = true
    this.#next[Symbol.dispose]()
    this.#ending.abort(new Error('the connection to Redis is closed'))
    clearTimeout(this.#watch)
    clearTimeout(this.#impatience)
    clearTimeout(this.#renewal)
    this.#ready = false
    this.#socket?.destroy()
    const error = new Error('the connection to Redis is closed')
    for (const command of [...this.#pending.take(), ...this.#waiting.splice(0)]) command.reject(error)
  }

  hurry(): void {
    this.#next.hurry()
  }

  #give(command: Command): void {
    if (this.#over) return command.reject(new Error('the connection to Redis is closed'))
    if (this.#ready) return this.#send(command)
    this.#next.hurry()
    if (this.#waiting.length >= MAX_WAITING)
      command.reject(new Error(`${this.#where} is away and ${MAX_WAITING} commands wait for it already`))
    else if (this.#attempts > this.#maxRetries || performance.now() - this.#lostAt > this.#patience)
      command.reject(this.#away(this.#reason))
    else {
      command.given = performance.now()
      this.#waiting.push(command)
      this.#watchWaiting()
    }
  }

  #away(reason: Error | undefined): Error {
    const told = redisAdvice(reason ?? new Error('not connected'), this.#options.tls !== undefined)
    const what = told.reason.startsWith(this.#where) ? told.reason : `${this.#where}${told.away ? ' is away' : ''}: ${told.reason}`
    return new Error(`${what} (${told.next}; we connect again by ourselves)`, { cause: reason })
  }

  get #where(): string {
    return `Redis at ${this.#options.host}:${this.#options.port}`
  }

  #send(command: Command): void {
    this.#pending.push(command)
    if (this.#commandTimeout > 0) {
      command.sent = performance.now()
      command.given ||= command.sent
      this.#watch ??= setTimeout(() => this.#checkTimeout(), this.#commandTimeout)
    }
    // A greeting goes at once: a server that refuses our certificate may close before the turn is over, and its reason were lost.
    this.#writer?.write(command.name, command.args, !this.#ready)
  }

  #checkTimeout(): void {
    this.#watch = undefined
    const oldest = this.#pending.oldest
    if (!oldest) return
    const left = Math.min(oldest.sent + this.#commandTimeout, oldest.given + this.#patience) - performance.now()
    if (left > 0) this.#watch = setTimeout(() => this.#checkTimeout(), left + 1)
    else this.#socket?.destroy(new Error(`${this.#where} did not answer ${oldest.name} within ${this.#commandTimeout} ms`))
  }

  #answered(reply: Reply): void {
    if (this.#options.onMessage && Array.isArray(reply) && this.#isMessage(reply)) return
    const command = this.#pending.oldest
    if (!command) return void this.#socket?.destroy(new Error(`${this.#where} answered what was not asked`))
    if (this.#options.onMessage && SUBSCRIPTION.test(command.name) && !(reply instanceof RedisReplyError)) {
      command.replies = (command.replies ?? command.args.length) - 1
      if (command.replies > 0) return
    }
    this.#pending.shift()
    if (reply instanceof RedisReplyError) command.reject(withoutRoom(reply, this.#where))
    else command.resolve(reply)
  }

  #isMessage(reply: Reply[]): boolean {
    const kind = asText(reply[0] ?? null)
    if (kind === 'message') this.#options.onMessage?.(String(asText(reply[1] ?? null)), undefined)
    else if (kind === 'pmessage') this.#options.onMessage?.(String(asText(reply[2] ?? null)), String(asText(reply[1] ?? null)))
    else return false
    return true
  }

  /** One attempt: connection, TLS, authentication. Rejects when any of it fails. */
  async #open(): Promise<void> {
    const { host, port, tls, connectTimeout = 5000 } = this.#options
    const began = performance.now()
    const plain = await dial({ host, port, limit: connectTimeout, signal: this.#ending.signal })
    const left = Math.max(1, connectTimeout - (performance.now() - began))
    return new Promise((resolve, reject) => {
      let up = false
      let failure: Error | undefined
      const socket = tls ? connectTls({ servername: host, ...tls, socket: plain }) : plain
      socket.setKeepAlive(true, 30_000)
      const late = setTimeout(() => socket.destroy(new Error(`no connection within ${connectTimeout} ms`)), left)
      readReplies(socket, (reply) => this.#answered(reply))
      socket.once('error', (error) => {
        failure = error
      })
      socket.once('close', () => {
        clearTimeout(late)
        if (this.#socket === socket) this.#socket = undefined
        const reason = failure ?? new Error('the server closed the connection')
        if (up) return this.#lost(reason)
        for (const command of this.#pending.take()) command.reject(reason)
        reject(reason)
      })
      const greet = async () => {
        this.#socket = socket
        this.#writer = new CommandWriter(socket)
        await this.#greet(socket).catch((error: Error) => socket.destroy(error))
        clearTimeout(late)
        if (this.#socket !== socket || socket.destroyed || this.#over) return
        const again = this.#attempts > 0
        up = true
        this.#attempts = 0
        this.#ready = true
        if (again) this.#options.onReconnect?.()
        for (const command of this.#waiting.splice(0)) this.#send(command)
        resolve()
      }
      if (tls) socket.once('secureConnect', greet)
      else void greet()
    })
  }

  async #greet(socket: Socket): Promise<void> {
    const { login, database, name } = this.#options
    const user = await login?.()
    // It may have been lost while a token was asked for; there may be another one already.
    if (this.#socket !== socket) return
    if (login && user) this.#renewIn(login, user.renew)
    const { username, password } = user ?? this.#options
    const ask = (command: string, ...args: Argument[]) =>
      new Promise((resolve, reject) => this.#send({ name: command, args, resolve, reject, attempts: 0, given: 0, sent: 0 }))
    if (password) await (username ? ask('AUTH', username, password) : ask('AUTH', password))
    if (database) await ask('SELECT', database)
    // Old servers and some that only speak the protocol do not know it.
    if (name) await ask('CLIENT', 'SETNAME', name.replace(/[^!-~]/g, '-')).catch(ignoreReply)
    if (!password && !database) await ask('PING')
  }

  /** Signs in again while the connection stands, before the token ends. */
  #renewIn(login: () => Promise<RedisUser>, milliseconds: number): void {
    // A subscriber may not: it is cut off when its token ends, and connects again.
    if (this.#options.onMessage) return
    const renew = async () => {
      const { username, password, renew } = await login()
      await this.call('AUTH', username, password)
      this.#renewIn(login, renew)
    }
    clearTimeout(this.#renewal)
    this.#renewal = setTimeout(() => {
      if (!this.#ready) return
      renew().catch((error: Error) => {
        this.#options.onError?.(error)
        this.#renewIn(login, RENEW_AGAIN)
      })
    }, milliseconds).unref()
  }

  /** What was under way is sent again, at most `maxRetries` times; answers that are lost with the connection stay unknown. */
  #lost(reason: Error): void {
    this.#ready = false
    if (this.#over) return
    this.#lostAt = performance.now()
    this.#options.onError?.(reason)
    this.#waiting = [...this.#pending.take(), ...this.#waiting]
    for (const command of this.#waiting) delete command.replies
    this.#failed(reason)
    this.#reconnect()
  }

  /** One more try of all that waits came to nothing. */
  #failed(reason: Error): void {
    this.#reason = reason
    const now = performance.now()
    const kept: Command[] = []
    for (const command of this.#waiting) {
      if (++command.attempts > this.#maxRetries || now >= command.given + this.#patience) command.reject(this.#away(reason))
      else kept.push(command)
    }
    this.#waiting = kept
    this.#watchWaiting()
  }

  /** Nobody waits for a lost server longer than for a slow one. The first that waits is the oldest. */
  #watchWaiting(): void {
    const oldest = this.#waiting[0]
    if (!oldest || this.#impatience || this.#patience === Number.POSITIVE_INFINITY) return
    this.#impatience = setTimeout(
      () => {
        this.#impatience = undefined
        const now = performance.now()
        while (this.#waiting[0] && this.#waiting[0].given + this.#patience <= now) this.#waiting.shift()?.reject(this.#away(this.#reason))
        this.#watchWaiting()
      },
      oldest.given + this.#patience - performance.now() + 1,
    )
  }

  #reconnect(): void {
    if (this.#over) return
    this.#attempts++
    const wait = this.#options.backoff?.(this.#attempts) ?? Math.min(50 * 2 ** Math.min(this.#attempts, 6), 2000)
    this.#next.after(wait, () => {
      this.#open().catch((error: Error) => {
        if (this.#over) return
        this.#options.onError?.(error)
        this.#failed(error)
        this.#reconnect()
      })
    })
  }
}

function ignoreReply(error: unknown): void {
  if (!(error instanceof RedisReplyError)) throw error
}
