import { setTimeout as pause } from 'node:timers/promises'
import { messageOf } from '../../errors.ts'
import { tlsAdvice } from '../tls-advice.ts'
import { CassandraConnection, type ConnectionOptions, LostError, type Statement } from './connection.ts'
import { CassandraError } from './frame.ts'

export interface ClusterOptions extends Omit<ConnectionOptions, 'host' | 'port'> {
  /** The nodes that are asked; each reaches all data of its cluster. */
  nodes: readonly { host: string; port: number }[]
  /** Who asks, for messages: `state store orders`. */
  owner: string
}

/** A node that was lost is left alone so long while others are there, milliseconds. */
const AVOID = 1000
/** How long the nodes of a cluster have to agree on its tables, milliseconds. */
const AGREEMENT = 10_000

interface Node {
  where: string
  options: ConnectionOptions
  connection: Promise<CassandraConnection> | undefined
  avoidUntil: number
}

/**
 * The nodes of one component, a connection each, asked in turn. What is lost with a connection is tried once at each other
 * node, or once more at the only one: statements here can be done twice.
 */
export class CassandraCluster implements AsyncDisposable {
  readonly #nodes: Node[]
  readonly #options: ClusterOptions
  #turn = 0
  #time = 0n
  #over = false

  constructor(options: ClusterOptions) {
    this.#options = options
    this.#nodes = options.nodes.map((place) => ({
      where: `${place.host.includes(':') ? `[${place.host}]` : place.host}:${place.port}`,
      options: { ...options, ...place },
      connection: undefined,
      avoidUntil: 0,
    }))
  }

  run(statement: Statement): Promise<(Buffer | null)[][]> {
    return this.#with((connection) => connection.run(statement))
  }

  /** Microseconds, later with every call: of two writes of one key the later one stays, as the sidecar sees it. */
  timestamp(): bigint {
    const now = BigInt(Date.now()) * 1000n
    this.#time = now > this.#time ? now : this.#time + 1n
    return this.#time
  }

  /** Makes tables, and waits until all nodes know them. */
  async define(...statements: string[]): Promise<void> {
    await this.#with(async (connection) => {
      for (const cql of statements) await connection.define(cql)
      const versions = async () => {
        const known = await Promise.all(
          ['SELECT schema_version FROM system.local', 'SELECT schema_version FROM system.peers'].map((cql) =>
            connection.run({ cql, values: [], consistency: 'One' }),
          ),
        )
        return new Set(known.flat().flatMap(([version]) => (version ? [version.toString('hex')] : []))).size
      }
      for (const end = Date.now() + AGREEMENT; (await versions()) > 1 && Date.now() < end; ) await pause(100)
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#over = true
    for (const node of this.#nodes)
      node.connection?.then(
        (connection) => connection[Symbol.dispose](),
        () => {},
      )
  }

  async #with<T>(work: (connection: CassandraConnection) => Promise<T>): Promise<T> {
    const began = Date.now()
    let lost: unknown
    let where = ''
    for (const node of this.#order()) {
      if (this.#over) throw new Error(`${this.#options.owner} is closed`)
      where = node.where
      try {
        return await work(await this.#connect(node))
      } catch (error) {
        if (!(error instanceof LostError)) throw this.#explained(error, node)
        node.avoidUntil = Date.now() + AVOID
        lost = error
        // Each try may take as long as an answer: a caller does not wait for more than two.
        if (Date.now() - began >= this.#options.timeout) break
      }
    }
    throw this.#explained(lost, { where })
  }

  /** Those that were there lately come first. The only one is asked twice when its connection may have died unnoticed. */
  #order(): Node[] {
    const from = this.#turn++ % this.#nodes.length
    const nodes = [...this.#nodes.slice(from), ...this.#nodes.slice(0, from)]
    const [only] = nodes
    if (nodes.length === 1 && only) return only.connection ? [only, only] : [only]
    const now = Date.now()
    return [...nodes.filter(({ avoidUntil }) => avoidUntil <= now), ...nodes.filter(({ avoidUntil }) => avoidUntil > now)]
  }

  /** One connection is made at a time; all that want it wait for the same. */
  async #connect(node: Node): Promise<CassandraConnection> {
    const current = node.connection
    if (current) {
      const held = await current
      if (!held.lost) return held
      if (node.connection === current) node.connection = undefined
    }
    if (node.connection) return node.connection
    const opening = CassandraConnection.open(node.options)
    node.connection = opening
    opening.catch(() => {
      if (node.connection === opening) node.connection = undefined
    })
    return opening
  }

  #explained(error: unknown, { where }: { where: string }): Error {
    const { owner, username } = this.#options
    const advice = tlsAdvice(error, { address: 'hosts', on: 'enableHostVerification' })
    if (advice) return new Error(`${owner}: Cassandra at ${where}: ${advice.reason} (${advice.next})`, { cause: error })
    if (error instanceof CassandraError && error.code === 0x0100)
      return new Error(
        `${owner}: Cassandra at ${where} refuses user ${username ?? '(none)'} (correct username and password): ${error.message}`,
        {
          cause: error,
        },
      )
    if (error instanceof CassandraError) return new Error(`${owner}: Cassandra at ${where}: ${error.message}`, { cause: error })
    return new Error(
      `${owner}: cannot reach Cassandra at ${where}: ${messageOf(error)} (start the server or correct hosts and port; the next operation connects again)`,
      { cause: error },
    )
  }
}
