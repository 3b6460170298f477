import { Client, type ClientConfig, DatabaseError, Pool, type PoolClient, type PoolConfig } from 'pg'
import { messageOf } from '../../errors.ts'
import { Silence } from '../silence.ts'
import { connectionError, type PostgresConnection } from './connection.ts'
import type { Login } from './login.ts'

/**
 * The connections of one component to its server. All work goes through `during` or `connect`: it fails within some seconds
 * when the server has fallen silent, however long a statement may take, and its connections are broken then.
 */
export class PostgresServer implements AsyncDisposable {
  readonly pool: Pool
  /** For Lanes and listeners: their connections are broken with the others. */
  readonly Client: new (
    config?: string | ClientConfig,
  ) => Client
  readonly #clients = new Set<Client>()
  readonly #silence: Silence
  readonly #login: Login | undefined

  /** @param owner e.g. `state store orders`; `settings` are the pool's where they differ from the connection's. */
  constructor(owner: string, { pool, address, login }: PostgresConnection, settings: PoolConfig, debug: (text: string) => void) {
    const clients = this.#clients
    this.#login = login
    this.Client = class extends Client {
      constructor(config?: string | ClientConfig) {
        super(config)
        signIn(this, login)
        clients.add(this)
        this.once('end', () => clients.delete(this))
      }
    }
    this.pool = new Pool({ ...pool, ...settings, Client: this.Client as new () => Client })
    // An idle connection that breaks is replaced by the pool; without a listener it would end the process.
    this.pool.on('error', (error) => debug(`${owner}: ${error.message}`))
    // One that breaks in a transaction tells the transaction, and its own listeners.
    this.pool.on('connect', (client) => client.on('error', () => {}))
    this.#silence = new Silence({
      probe: (limit) => probe(pool, login, limit),
      cut: (error) => {
        for (const client of clients) (client.connection as unknown as { stream: { destroy(error: Error): void } }).stream.destroy(error)
      },
      unanswered: isSlow,
      explain(reason, waited) {
        const text = isSlow(reason) ? new Error(`no answer within ${waited} ms`) : reason
        return connectionError(owner, address, text) as Error
      },
    })
  }

  during<T>(work: () => Promise<T>): Promise<T> {
    return this.#silence.during(work)
  }

  /** A connection of its own, to be released. */
  async connect(): Promise<PoolClient> {
    let connecting: Promise<PoolClient> | undefined
    try {
      // Not begun at all while the server is silent: what nobody waits for would stand in the way of the others later.
      return await this.#silence.during(() => {
        connecting = this.pool.connect()
        return connecting
      })
    } catch (error) {
      connecting?.then(
        (client) => client.release(),
        () => {},
      )
      throw error
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#silence[Symbol.dispose]()
    await this.pool.end()
    await this.#login?.[Symbol.asyncDispose]()
  }
}

/** As `password` of the settings does, which the empty one of a connection string would hide. */
function signIn(client: Client, login: Login | undefined): void {
  if (login) Object.assign(client, { password: () => login.password() })
}

/** As the library says that a query or a connection takes too long. */
function isSlow(error: unknown): boolean {
  return !(error instanceof DatabaseError) && /timeout/i.test(messageOf(error))
}

/** A refusal is an answer too, unless the server is on its way up or down. */
async function probe({ connectionString }: PoolConfig, login: Login | undefined, limit: number): Promise<void> {
  const client = new Client({ connectionString, connectionTimeoutMillis: limit })
  signIn(client, login)
  client.on('error', () => {})
  try {
    await client.connect()
    client.end().catch(() => {})
  } catch (error) {
    if (!(error instanceof DatabaseError) || error.code?.startsWith('57P')) throw error
  }
}
