import { Cluster, Redis, type RedisOptions } from 'ioredis'
import { withoutRoom } from './advice.ts'
import type { Argument, RedisClient, RedisClientOptions, Script } from './client.ts'
import { RENEW_AGAIN, type RedisUser } from './login.ts'
import type { RedisAddress } from './open.ts'
import { asText, type Reply } from './reply.ts'

/** A cluster's nodes, or a master that sentinels name: finding and following them is ioredis' work. */
export async function clusterClient(nodes: RedisAddress[], options: RedisClientOptions): Promise<RedisClient> {
  const redisOptions = settings(options)
  const user = await options.login?.()
  Object.assign(redisOptions, userIn(user))
  const client = new Cluster(nodes, {
    lazyConnect: true,
    redisOptions,
    ...(options.backoff ? { clusterRetryStrategy: options.backoff } : {}),
  })
  // Each new connection takes them from there.
  return new IoRedisClient(client, true, options, user, () => [redisOptions, ...client.nodes('all').map((node) => node.options)])
}

export async function sentinelClient(
  sentinels: RedisAddress[],
  options: RedisClientOptions,
  sentinel: { master: string; username?: string | undefined; password?: string | undefined },
): Promise<RedisClient> {
  const user = await options.login?.()
  const client = new Redis({
    ...settings(options),
    ...userIn(user),
    db: options.database ?? 0,
    ...(options.backoff ? { retryStrategy: options.backoff } : {}),
    sentinels,
    name: sentinel.master,
    sentinelUsername: sentinel.username,
    sentinelPassword: sentinel.password,
    ...(options.tls ? { enableTLSForSentinelMode: true, sentinelTLS: options.tls } : {}),
  })
  return new IoRedisClient(client, false, options, user, () => [client.options])
}

function userIn(user: RedisUser | undefined): Pick<RedisOptions, 'username' | 'password'> {
  return user ? { username: user.username, password: user.password } : {}
}

function settings(options: RedisClientOptions): RedisOptions {
  return {
    protocol: 2,
    lazyConnect: true,
    connectionName: options.name,
    username: options.username,
    password: options.password,
    connectTimeout: options.connectTimeout,
    maxRetriesPerRequest: options.maxRetries,
    commandTimeout: options.commandTimeout || undefined,
    tls: options.tls,
  }
}

class IoRedisClient implements RedisClient {
  readonly isCluster: boolean
  readonly #client: Redis | Cluster
  readonly #where: string
  /** Milliseconds for a command with all its tries; 0: as long as it takes. */
  readonly #patience: number
  readonly #options: RedisClientOptions
  /** Where ioredis takes user and password from. */
  readonly #places: () => RedisOptions[]
  #renewal: NodeJS.Timeout | undefined
  #last: Error | undefined

  constructor(
    client: Redis | Cluster,
    isCluster: boolean,
    options: RedisClientOptions,
    user: RedisUser | undefined,
    places: () => RedisOptions[],
  ) {
    this.#client = client
    this.#options = options
    this.#places = places
    if (user) this.#renewIn(user.renew)
    this.isCluster = isCluster
    this.#where = `${isCluster ? 'the Redis cluster at' : 'the Redis master behind'} ${options.host}:${options.port}`
    // ioredis queues without limit of time while it looks for a node.
    this.#patience = options.commandTimeout ? options.commandTimeout + (options.connectTimeout ?? 5000) : 0
    // Without a listener a lost connection would end the process.
    client.on('error', (error: Error) => {
      this.#last = error
      options.onError?.(error)
    })
    let before = false
    client.on('ready', () => {
      if (before) options.onReconnect?.()
      before = true
    })
    client.on('message', (channel: string) => options.onMessage?.(channel, undefined))
    client.on('pmessage', (pattern: string, channel: string) => options.onMessage?.(channel, pattern))
  }

  get ready(): boolean {
    return this.#client.status === 'ready'
  }

  async connect(signal?: AbortSignal): Promise<void> {
    const abort = () => this.#client.disconnect()
    signal?.throwIfAborted()
    signal?.addEventListener('abort', abort, { once: true })
    try {
      await this.#client.connect()
    } catch (error) {
      this.#client.disconnect()
      throw signal?.aborted ? signal.reason : (this.#last ?? error)
    } finally {
      signal?.removeEventListener('abort', abort)
    }
  }

  async call(name: string, ...args: Argument[]): Promise<unknown> {
    return asText(await this.callBuffer(name, ...args))
  }

  callBuffer(name: string, ...args: Argument[]): Promise<Reply> {
    return this.#bounded(this.#client.callBuffer(name, ...args) as Promise<Reply>)
  }

  masters(): Pick<RedisClient, 'call'>[] {
    const nodes = this.#client instanceof Cluster ? this.#client.nodes('master') : [this.#client]
    return nodes.map((node) => ({
      call: async (name: string, ...args: Argument[]) => asText(await this.#bounded(node.callBuffer(name, ...args) as Promise<Reply>)),
    }))
  }

  #renewIn(milliseconds: number): void {
    clearTimeout(this.#renewal)
    this.#renewal = setTimeout(() => {
      this.#renew().catch((error: Error) => {
        this.#options.onError?.(error)
        this.#renewIn(RENEW_AGAIN)
      })
    }, milliseconds).unref()
  }

  /** New connections sign in with the new token, and those that stand do so again; a subscriber may not, and is cut off. */
  async #renew(): Promise<void> {
    const user = (await this.#options.login?.()) as RedisUser
    for (const place of this.#places()) Object.assign(place, userIn(user))
    const nodes = this.#client instanceof Cluster ? this.#client.nodes('all') : [this.#client]
    if (!this.#options.onMessage) await Promise.all(nodes.map((node) => node.call('AUTH', user.username, user.password)))
    this.#renewIn(user.renew)
  }

  async #bounded<T>(work: Promise<T>): Promise<T> {
    try {
      return await this.#inTime(work)
    } catch (error) {
      throw withoutRoom(error, this.#where)
    }
  }

  async #inTime<T>(work: Promise<T>): Promise<T> {
    if (this.#patience === 0) return work
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        const reason = this.#last ? `: ${this.#last.message}` : ''
        reject(new Error(`${this.#where} gave no answer within ${this.#patience} ms${reason}`))
      }, this.#patience)
    })
    try {
      return await Promise.race([work, late])
    } finally {
      clearTimeout(timer)
    }
  }

  async script(script: Script, keys: readonly string[], args: readonly Argument[]): Promise<unknown> {
    try {
      return await this.call('EVALSHA', script.sha, keys.length, ...keys, ...args)
    } catch (error) {
      if (!(error instanceof Error && error.message.startsWith('NOSCRIPT'))) throw error
      return this.call('EVAL', script.text, keys.length, ...keys, ...args)
    }
  }

  /** ioredis keeps its own time. */
  hurry(): void {}

  async close(): Promise<void> {
    clearTimeout(this.#renewal)
    if (this.ready) await this.#client.quit().catch(() => undefined)
    this.#client.disconnect()
  }

  disconnect(): void {
    clearTimeout(this.#renewal)
    this.#client.disconnect()
  }
}
