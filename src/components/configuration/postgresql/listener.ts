import type { Client, ClientConfig } from 'pg'

export interface ListenerOptions {
  connectionString: string
  /** Milliseconds for a connection to come up. */
  timeout: number
  /** What makes the connection. */
  Client: new (
    config: ClientConfig,
  ) => Client
  onNotification(channel: string, payload: string): void
  /** The connection stands again after it was lost: what was sent in between is gone. */
  onReconnect(): void
  onLost(error: Error): void
}

/** Milliseconds before the n-th attempt in a row: doubling, from and up to. */
const FIRST_WAIT = 50
const LONGEST_WAIT = 2000

/** One connection that LISTENs to channels, and does so again over a new one when it is lost. */
export class Listener implements AsyncDisposable {
  readonly #options: ListenerOptions
  readonly #channels = new Map<string, number>()
  #client: Client | undefined
  #connecting: Promise<Client> | undefined
  #retry: NodeJS.Timeout | undefined
  #attempts = 0
  #over = false

  constructor(options: ListenerOptions) {
    this.#options = options
  }

  /** Resolves when the channel is listened to. Each call needs its own `forget`. */
  async listen(channel: string): Promise<void> {
    const client = this.#client ?? (await this.#connect())
    if (!this.#channels.has(channel)) await client.query(`LISTEN ${quoted(channel)}`)
    this.#channels.set(channel, (this.#channels.get(channel) ?? 0) + 1)
  }

  async forget(channel: string): Promise<void> {
    const left = (this.#channels.get(channel) ?? 0) - 1
    if (left > 0) this.#channels.set(channel, left)
    else if (this.#channels.delete(channel)) await this.#client?.query(`UNLISTEN ${quoted(channel)}`).catch(() => undefined)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#over = true
    clearTimeout(this.#retry)
    const client = this.#client ?? (await this.#connecting?.catch(() => undefined))
    await client?.end().catch(() => undefined)
  }

  #connect(): Promise<Client> {
    this.#connecting ??= this.#open().finally(() => {
      this.#connecting = undefined
    })
    return this.#connecting
  }

  async #open(): Promise<Client> {
    const { connectionString, timeout } = this.#options
    const client = new this.#options.Client({ connectionString, connectionTimeoutMillis: timeout, query_timeout: timeout, keepAlive: true })
    client.on('notification', ({ channel, payload }) => this.#options.onNotification(channel, payload ?? ''))
    client.on('error', (error) => this.#lost(client, error))
    client.on('end', () => this.#lost(client, new Error('the server closed the connection')))
    await client.connect()
    for (const channel of this.#channels.keys()) await client.query(`LISTEN ${quoted(channel)}`)
    this.#client = client
    this.#attempts = 0
    return client
  }

  #lost(client: Client, error: Error): void {
    if (this.#client !== client || this.#over) return
    this.#client = undefined
    this.#options.onLost(error)
    this.#again()
  }

  #again(): void {
    if (this.#over) return
    const wait = Math.min(FIRST_WAIT * 2 ** Math.min(this.#attempts++, 10), LONGEST_WAIT)
    this.#retry = setTimeout(() => {
      this.#connect().then(
        () => this.#options.onReconnect(),
        () => this.#again(),
      )
    }, wait).unref()
  }
}

function quoted(name: string): string {
  return `"${name.replaceAll('"', '""')}"`
}
