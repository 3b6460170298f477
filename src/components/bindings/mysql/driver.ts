import type { Binding, BindingRequest, BindingResponse } from '../../../blocks/bindings/driver.ts'
import { messageOf } from '../../../errors.ts'
import { formatGoDuration } from '../../../go-duration.ts'
import type { ComponentContext, DriverModule } from '../../component.ts'
import { type MetadataField, parseMetadata } from '../../metadata.ts'
import { readDsn } from '../../mysql/dsn.ts'
import { MysqlPool } from '../../mysql/pool.ts'
import { rowsToJson } from './json.ts'

const fields: readonly MetadataField[] = [
  {
    name: 'url',
    kind: 'string',
    required: true,
    sensitive: true,
    description:
      'Server, login and database in the form of Go programs: `user:password@tcp(host:3306)/database`; `?tls=custom` with pemPath.',
  },
  { name: 'pemPath', kind: 'string', description: 'File with the authorities that the server must be signed by, for `tls=custom`.' },
  { name: 'maxOpenConns', kind: 'int', default: '0', description: 'Most connections; 0 or less: 10.' },
  { name: 'maxIdleConns', kind: 'int', default: '0', description: 'Read for compatibility: idle connections close after connMaxIdleTime.' },
  {
    name: 'connMaxLifetime',
    kind: 'duration',
    default: '0',
    description: 'Read for compatibility: a connection is used as long as it stands.',
  },
  { name: 'connMaxIdleTime', kind: 'duration', default: '0', description: 'How long an idle connection is kept; 0 or less: one minute.' },
]
const OPERATIONS = ['exec', 'query', 'close']
/** Milliseconds for one statement: reports may take long, a dead server must not hold requests for good. */
const TIMEOUT = 300_000

/** Runs the SQL of requests; rows come as objects. */
class MysqlBinding implements Binding {
  readonly operations = OPERATIONS
  private readonly pool: MysqlPool
  private closed = false

  constructor(context: ComponentContext) {
    const values = parseMetadata(fields, context.properties)
    const connections = values.maxOpenConns as number
    const idle = values.connMaxIdleTime as number
    this.pool = new MysqlPool({
      address: readDsn('url', values.url as string, values.pemPath as string | undefined),
      owner: `binding ${context.name}`,
      timeout: TIMEOUT,
      connections: connections > 0 ? connections : 10,
      idleTimeout: idle > 0 ? idle : undefined,
      settings: {
        rowsAsArray: true,
        dateStrings: true,
        supportBigNumbers: true,
        bigNumberStrings: true,
        jsonStrings: true,
        maxPreparedStatements: 64,
      },
    })
  }

  async init(): Promise<void> {
    await this.ping()
  }

  async ping(): Promise<void> {
    await this.pool.text('SELECT 1')
  }

  async invoke({ operation, metadata }: BindingRequest): Promise<BindingResponse | undefined> {
    if (operation === 'close') {
      await this[Symbol.asyncDispose]()
      return undefined
    }
    if (this.closed) throw new Error('component is closed')
    const { sql } = metadata
    if (!sql) throw new Error('required metadata not set: sql')
    const params = metadata.params ? readParams(metadata.params) : []
    if (operation !== 'exec' && operation !== 'query')
      throw new Error(`invalid operation type: ${operation}. Expected exec, query, or close`)
    const start = new Date()
    const answer = await this.run(sql, params)
    const end = new Date()
    return {
      ...(operation === 'query' && { data: Buffer.from(rowsToJson(answer)) }),
      metadata: {
        operation,
        sql,
        'start-time': start.toISOString(),
        ...(operation === 'exec' && { 'rows-affected': String(answer.affected) }),
        'end-time': end.toISOString(),
        duration: formatGoDuration(end.getTime() - start.getTime()),
      },
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.closed = true
    await this.pool[Symbol.asyncDispose]()
  }

  private async run(sql: string, params: readonly unknown[]) {
    try {
      // As Go's driver: only a statement with parameters is prepared, for not every one can be.
      return await (params.length > 0 ? this.pool.run(sql, params) : this.pool.text(sql))
    } catch (error) {
      throw new Error(`error executing query: ${goWords(error)}`, { cause: error })
    }
  }
}

/** An error of the server as Go's driver writes it, by which programs tell them apart. */
function goWords(error: unknown): string {
  const { errno, sqlState } = error as { errno?: number; sqlState?: string }
  return errno && sqlState ? `Error ${errno} (${sqlState}): ${messageOf(error)}` : messageOf(error)
}

function readParams(text: string): unknown[] {
  let params: unknown
  try {
    params = JSON.parse(text)
  } catch {
    params = undefined
  }
  if (!Array.isArray(params)) throw new Error('invalid metadata property params: failed to unserialize into an array')
  return params
}

/** bindings.mysql: runs SQL. */
export const driver: DriverModule<Binding> = {
  summary: 'Runs SQL in MySQL or MariaDB: `exec` for changes, `query` for rows.',
  metadata: fields,
  create: (context) => new MysqlBinding(context),
}
