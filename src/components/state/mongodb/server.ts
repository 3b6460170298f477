import { messageOf } from '../../../errors.ts'
import { BsonError, type Document, type Encoded } from '../../mongodb/bson.ts'
import type { MongoClient, Reply } from '../../mongodb/client.ts'
import { LostError, MongoError, NoServerError } from '../../mongodb/errors.ts'
import { openClient } from '../../mongodb/open.ts'
import type { Transaction } from '../../mongodb/transaction.ts'
import { tlsAdvice } from '../../tls-advice.ts'
import type { MongoSettings } from './settings.ts'

/** AuthenticationFailed, and what Atlas says instead. */
const REFUSED_LOGINS = new Set([18, 8000])
const NOT_IMPLEMENTED = 238
/** Unauthorized. */
const NOT_ALLOWED = 13

/** The collection of one component: its commands, within the time of an operation; errors say who cannot reach whom, and what to do. */
export class MongoServer implements AsyncDisposable {
  readonly #client: MongoClient
  readonly #settings: MongoSettings
  readonly #owner: string

  private constructor(owner: string, settings: MongoSettings, client: MongoClient) {
    this.#owner = owner
    this.#settings = settings
    this.#client = client
  }

  /** Connects nothing yet. */
  static async open(owner: string, settings: MongoSettings): Promise<MongoServer> {
    const { uri, database, timeout, where } = settings
    try {
      return new MongoServer(owner, settings, await openClient({ uri, database, timeout, appName: 'outrider' }))
    } catch (error) {
      throw new Error(`${owner}: the servers of mongodb+srv://${where} are not found: ${messageOf(error)}`, { cause: error })
    }
  }

  async ping(): Promise<void> {
    await this.#during((limit) => this.#client.read({ ping: 1 }, limit))
  }

  /** All documents that suit, as bytes. */
  find(question: Document): Promise<Buffer[]> {
    const { collection, readConcern } = this.#settings
    return this.#during((limit) => this.#client.find({ find: collection, ...question, readConcern: { level: readConcern } }, limit))
  }

  /** How many documents the command found, and how many of them it did something to. */
  async write(name: 'update' | 'delete', statements: readonly (Document | Encoded)[], ordered = true): Promise<number> {
    const command = { [name]: this.#settings.collection, [`${name}s`]: statements, ordered, writeConcern: this.#settings.writeConcern }
    // Statements for several documents have no numbers by which the server knows them.
    const once = statements.some((statement) => 'limit' in statement && statement.limit === 0)
    return countOf(await this.#during((limit) => this.#client.write(command, limit, once)))
  }

  /** Whether the server has such indexes; others than MongoDB may not. */
  async createIndex(name: string, key: Document, more: Document): Promise<boolean> {
    const { collection } = this.#settings
    const command = { createIndexes: collection, indexes: [{ key, name, ...more }] }
    try {
      await this.#during((limit) => this.#client.write(command, limit, true))
      return true
    } catch (error) {
      if (error instanceof MongoError && error.code === NOT_IMPLEMENTED) return false
      throw error
    }
  }

  /** All or nothing; done again where it lost to another transaction, within the operation's time. */
  async transaction(work: (inside: MongoTransaction) => Promise<void>): Promise<void> {
    const { collection, journal } = this.#settings
    const options = { readConcern: { level: 'snapshot' }, writeConcern: { w: 'majority', ...(journal ? { j: true } : {}) } }
    await this.#during((limit) =>
      this.#client.transaction(options, limit, (transaction) => work(new MongoTransaction(transaction, collection))),
    )
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#client[Symbol.asyncDispose]()
  }

  /** One operation at the server. */
  async #during<T>(work: (limit: number) => Promise<T>): Promise<T> {
    try {
      return await work(performance.now() + this.#settings.timeout)
    } catch (error) {
      throw this.#explained(error)
    }
  }

  #explained(error: unknown): unknown {
    const { where, login } = this.#settings
    const who = `${this.#owner}: MongoDB at ${where}`
    const refused = find(error, (inner) => inner instanceof MongoError)
    if (refused && REFUSED_LOGINS.has(refused.code))
      return new Error(
        `${who} refuses user ${login?.username || '(of the certificate)'} (correct user and password, or authSource): ${refused.message}`,
        { cause: error },
      )
    if (refused?.code === NOT_ALLOWED)
      return new Error(
        `${who} does not let ${login ? `user ${login.username}` : 'anybody without a user'} do this (give the user the role readWrite on the database, or name one): ${refused.message}`,
        { cause: error },
      )
    const advice = tlsAdvice(error, {
      address: 'connectionString or host',
      on: 'tls in connectionString or params',
      authority: 'connectionString or params, as tlsCAFile=',
      client: 'connectionString or params, at tlsCertificateKeyFile=',
    })
    if (advice) return new Error(`${who}: ${advice.reason} (${advice.next})`, { cause: error })
    if (error instanceof MongoError || error instanceof BsonError) return error
    const lost = error instanceof LostError || error instanceof NoServerError
    if (!lost) return error
    return new Error(
      `${this.#owner}: cannot reach MongoDB at ${where}: ${messageOf(error)} (start the server or correct connectionString or host; the next operation connects again)`,
      { cause: error },
    )
  }
}

/** The same commands, together. */
export class MongoTransaction {
  readonly #transaction: Transaction
  readonly #collection: string

  constructor(transaction: Transaction, collection: string) {
    this.#transaction = transaction
    this.#collection = collection
  }

  async find(question: Document): Promise<Buffer[]> {
    const reply = await this.#transaction.command({ find: this.#collection, ...question })
    return (reply.cursor as { firstBatch: Buffer[] }).firstBatch
  }

  async write(name: 'update' | 'delete', statements: readonly Document[]): Promise<number> {
    return countOf(await this.#transaction.command({ [name]: this.#collection, [`${name}s`]: statements, ordered: true }))
  }
}

function countOf(reply: Reply): number {
  return Number(reply.n ?? 0)
}

function find(error: unknown, suits: (inner: unknown) => boolean): MongoError | undefined {
  for (let inner: unknown = error; inner instanceof Error; inner = inner.cause) if (suits(inner)) return inner as MongoError
  return undefined
}
