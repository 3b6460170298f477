import type * as mongo from 'mongodb'
import { messageOf } from '../../../errors.ts'
import { tlsAdvice } from '../../tls-advice.ts'
import type { MongoSettings } from './settings.ts'

export type Collection = mongo.Collection<{ _id: string }>
export type Library = Omit<typeof mongo, 'default'>

/** Milliseconds by which the library's own limits come first, since they say more. */
const SLACK = 200

class Late extends Error {}

/** The official client of one component, loaded when there is one; its errors say who cannot reach whom, and what to do. */
export class MongoServer implements AsyncDisposable {
  readonly library: Library
  readonly collection: Collection
  readonly #client: mongo.MongoClient
  readonly #settings: MongoSettings
  readonly #owner: string

  private constructor(owner: string, settings: MongoSettings, library: Library) {
    const { uri, timeout, database, collection, writeConcern, readConcern } = settings
    this.#owner = owner
    this.#settings = settings
    this.library = library
    this.#client = new library.MongoClient(uri, {
      appName: 'outrider',
      serverSelectionTimeoutMS: timeout,
      connectTimeoutMS: timeout,
      socketTimeoutMS: timeout,
      waitQueueTimeoutMS: timeout,
    })
    this.collection = this.#client.db(database).collection(collection, {
      writeConcern: { w: writeConcern, journal: true },
      readConcern: { level: readConcern },
    })
  }

  /** Connects nothing yet. Throws where the library is missing or refuses the connection string, whose text it does not show. */
  static async open(owner: string, settings: MongoSettings): Promise<MongoServer> {
    // The bundle has its names on the default export only.
    const { default: library } = await import('mongodb').catch((error: unknown) => {
      throw new Error(`${owner}: state.mongodb needs the package mongodb, which is not installed: npm install mongodb`, { cause: error })
    })
    try {
      return new MongoServer(owner, settings, library)
    } catch (error) {
      throw new Error(`${owner}: connectionString or params: ${messageOf(error)}`)
    }
  }

  async ping(): Promise<void> {
    await this.during(() => this.#client.db(this.#settings.database).command({ ping: 1 }))
  }

  /** All or nothing; done again where it lost to another transaction, within the operation's time. */
  async transaction(work: (session: mongo.ClientSession) => Promise<void>): Promise<void> {
    await this.during(() =>
      this.#client.withSession((session) =>
        session.withTransaction(work, { readConcern: { level: 'snapshot' }, writeConcern: { w: 'majority' } }),
      ),
    )
  }

  /** One operation at the server. */
  async during<T>(work: () => Promise<T>): Promise<T> {
    let timer: NodeJS.Timeout | undefined
    const { timeout } = this.#settings
    // The library tries some operations again, each time as long as its own limits allow.
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Late(`no answer within ${timeout} ms`)), timeout + SLACK)
    })
    try {
      return await Promise.race([work(), late])
    } catch (error) {
      throw this.#explained(error)
    } finally {
      clearTimeout(timer)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#client.close(true)
  }

  #explained(error: unknown): unknown {
    const { MongoServerSelectionError, MongoNetworkError, MongoServerError } = this.library
    const { where, user } = this.#settings
    const who = `${this.#owner}: MongoDB at ${where}`
    const refused = refusal(error)
    if (refused instanceof MongoServerError && (refused.code === 18 || refused.code === 8000))
      return new Error(`${who} refuses user ${user ?? '(none)'} (correct user and password, or authSource): ${refused.message}`, {
        cause: error,
      })
    const advice = tlsAdvice(error, { address: 'connectionString or host', on: 'tls in connectionString or params' })
    if (advice) return new Error(`${who}: ${advice.reason} (${advice.next})`, { cause: error })
    // The pool's own error for having no connection free in time is not exported.
    const known = [MongoServerSelectionError, MongoNetworkError, Late].some((kind) => error instanceof kind)
    if (!known && !(error instanceof Error && error.name === 'MongoWaitQueueTimeoutError')) return error
    return new Error(
      `${this.#owner}: cannot reach MongoDB at ${where}: ${messageOf(error)} (start the server or correct connectionString or host; the next operation connects again)`,
      { cause: error },
    )
  }
}

/** The server's own refusal, which the library may have put into the reason for having no server. */
function refusal(error: unknown): unknown {
  for (let inner: unknown = error; inner instanceof Error; inner = inner.cause)
    if ('code' in inner && typeof inner.code === 'number') return inner
  return error
}
