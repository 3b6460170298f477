import { setTimeout as pause } from 'node:timers/promises'
import type { Document } from './bson.ts'
import { hasLabel, LostError, MongoError, writesAgain } from './errors.ts'
import type { Server } from './members.ts'
import type { ServerSession } from './sessions.ts'

export interface TransactionOptions {
  readConcern: Document
  writeConcern: Document
}

interface Ways {
  select(): Promise<Server>
  run(server: Server, command: Document): Promise<Record<string, unknown>>
  sharded(): boolean
  /** Milliseconds of `performance.now()`. */
  limit: number
}

/** MaxTimeMSExpired: the majority did not confirm in time, which another question would not change. */
const EXPIRED = 50
/** Transactions that lost wait up to so long before they begin again, milliseconds. */
const SHORTEST = 5
const LONGEST = 500

/** One transaction of a session (Transactions specification): new → under way → committed or aborted, and so again where it lost. */
export class Transaction {
  readonly #session: ServerSession
  readonly #options: TransactionOptions
  readonly #ways: Ways
  #server: Server | undefined
  #begun = false
  #recovery: unknown

  constructor(session: ServerSession, options: TransactionOptions, ways: Ways) {
    this.#session = session
    this.#options = options
    this.#ways = ways
  }

  /** Does the work and commits, as often as it takes. */
  async run(work: (transaction: Transaction) => Promise<void>): Promise<void> {
    for (let longest = SHORTEST; ; longest = Math.min(longest * 1.5, LONGEST)) {
      this.#session.number++
      this.#begun = false
      this.#server = undefined
      this.#recovery = undefined
      try {
        await work(this)
        if (!this.#begun) return
        await this.#commit()
        return
      } catch (error) {
        await this.#abort(error)
        if (!transient(error) || performance.now() >= this.#ways.limit) throw error
      }
      await pause(Math.random() * longest)
    }
  }

  /** A command in the transaction. */
  async command(command: Document): Promise<Record<string, unknown>> {
    this.#server ??= await this.#ways.select()
    const { readConcern } = this.#options
    const begin = this.#begun ? {} : { startTransaction: true, readConcern }
    this.#begun = true
    const reply = await this.#ways.run(this.#server, { ...command, ...this.#identity, ...begin })
    this.#recovery = reply.recoveryToken ?? this.#recovery
    return reply
  }

  get #identity(): Document {
    return { lsid: { id: this.#session.id }, txnNumber: this.#session.number, autocommit: false }
  }

  /** Its fate is asked for until it is known: committing twice is committing once. */
  async #commit(): Promise<void> {
    let { writeConcern } = this.#options
    for (;;) {
      try {
        await this.#end('commitTransaction', writeConcern)
        return
      } catch (error) {
        const unknown = writesAgain(error) || (hasLabel(error, 'UnknownTransactionCommitResult') && !isExpired(error))
        if (!unknown || hasLabel(error, 'TransientTransactionError') || performance.now() >= this.#ways.limit) throw ofCommit(error)
        writeConcern = { wtimeout: 10_000, ...writeConcern, w: 'majority' }
        // On a replica set the primary of now knows; behind mongos the token tells any of them.
        this.#server = undefined
      }
    }
  }

  async #abort(reason: unknown): Promise<void> {
    // A server that forgets the connection forgets what was under way on it.
    if (!this.#begun || reason instanceof LostError) return
    await this.#end('abortTransaction', this.#options.writeConcern).catch(() => {})
  }

  async #end(name: string, writeConcern: Document): Promise<void> {
    this.#server ??= await this.#ways.select()
    const token = this.#ways.sharded() && this.#recovery ? { recoveryToken: this.#recovery } : {}
    await this.#ways.run(this.#server, { [name]: 1, ...this.#identity, ...token, writeConcern, $db: 'admin' })
  }
}

function ofCommit(error: unknown): unknown {
  if (!(error instanceof LostError)) return error
  return new LostError(`${error.message}; whether the transaction was committed is not known`, { cause: error })
}

function isExpired(error: unknown): boolean {
  return error instanceof MongoError && error.code === EXPIRED
}

/** It did nothing, and may succeed from the start. */
function transient(error: unknown): boolean {
  if (error instanceof MongoError && error.stateChange) return true
  return error instanceof LostError || hasLabel(error, 'TransientTransactionError')
}
