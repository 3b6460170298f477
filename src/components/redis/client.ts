import { createHash } from 'node:crypto'
import type { ConnectionOptions } from 'node:tls'
import type { RedisUser } from './login.ts'
import type { Reply } from './reply.ts'

export type Argument = string | number | Buffer

/** Commands to a Redis server, in the order they are given. Rejections: RedisReplyError, or an Error when no answer came. */
export interface RedisClient {
  /** Whether a connection stands. */
  readonly ready: boolean
  /** A cluster has a connection per node, and so no one client id. */
  readonly isCluster: boolean
  /** Connects for the first time; rejects with the reason, leaving nothing open. */
  connect(signal?: AbortSignal): Promise<void>
  /** Sends one command; bytes of the reply as text. */
  call(name: string, ...args: Argument[]): Promise<unknown>
  /** The same with bytes as they came. They are views of what was received: copy what is kept for long. */
  callBuffer(name: string, ...args: Argument[]): Promise<Reply>
  /** Runs a Lua script; its text travels only when the server does not have it. */
  script(script: Script, keys: readonly string[], args: readonly Argument[]): Promise<unknown>
  /** Those that hold the keys: this server, or each of a cluster's masters. */
  masters(): Pick<RedisClient, 'call'>[]
  /** The server may be back: where a try to connect is due, it comes soon. Every command says so too. */
  hurry(): void
  /** Says good-bye if connected, and closes for good. */
  close(): Promise<void>
  /** Closes at once for good; commands under way fail. */
  disconnect(): void
}

export interface Script {
  readonly text: string
  /** SHA-1 of the text, in hex. */
  readonly sha: string
}

/** A Lua script for `RedisClient.script`. */
export function redisScript(text: string): Script {
  return { text, sha: createHash('sha1').update(text).digest('hex') }
}

export interface RedisClientOptions {
  host: string
  port: number
  username?: string | undefined
  password?: string | undefined
  /** In place of both: who to sign in as now. */
  login?: (() => Promise<RedisUser>) | undefined
  database?: number | undefined
  /** Shown by CLIENT LIST. */
  name?: string | undefined
  tls?: ConnectionOptions | undefined
  /** Milliseconds. Default 5000. */
  connectTimeout?: number | undefined
  /**
   * Milliseconds from sending to the answer, after which the connection counts as dead. 0: none. Default 3000. With all its
   * tries over other connections a command takes two seconds more at most.
   */
  commandTimeout?: number | undefined
  /** How often a command is sent again over a new connection before it fails. Default 3. */
  maxRetries?: number | undefined
  /** Milliseconds before the n-th attempt in a row to connect again, n from 1. */
  backoff?: ((attempt: number) => number) | undefined
  onError?: ((error: Error) => void) | undefined
  /** The connection stands again after it was lost: what belongs to a connection, such as its subscriptions, is gone. */
  onReconnect?: (() => void) | undefined
  /** Makes it a subscriber: hears the messages of channels that SUBSCRIBE and PSUBSCRIBE named. */
  onMessage?: ((channel: string, pattern: string | undefined) => void) | undefined
}
