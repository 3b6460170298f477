import { type CustomTypesConfig, type QueryArrayResult, types } from 'pg'
import type { Binding, BindingRequest, BindingResponse } from '../../../blocks/bindings/driver.ts'
import { formatGoDuration } from '../../../go-duration.ts'
import type { ComponentContext, DriverModule } from '../../component.ts'
import { parseMetadata } from '../../metadata.ts'
import { connectionError, connectionFields, readConnection } from '../../postgres/connection.ts'
import { PostgresServer } from '../../postgres/server.ts'

// In V8 since Node 22; TypeScript's library does not know it yet.
const { rawJSON } = JSON as unknown as { rawJSON(text: string): unknown }
const OPERATIONS = ['exec', 'query', 'close']

/** Runs the SQL of requests; rows come as arrays of values. */
class PostgresBinding implements Binding {
  readonly operations = OPERATIONS
  private readonly name: string
  private readonly address: string
  private readonly server: PostgresServer
  private ended: Promise<void> | undefined

  constructor(context: ComponentContext) {
    const connection = readConnection(parseMetadata(connectionFields, context.properties), context.properties)
    this.name = context.name
    this.address = connection.address
    this.server = new PostgresServer(`binding ${context.name}`, connection, { types: jsonTypes }, (text) => context.log.debug(text))
  }

  async init(): Promise<void> {
    await this.ping()
  }

  async ping(): Promise<void> {
    try {
      await this.server.during(() => this.server.pool.query('SELECT 1'))
    } catch (error) {
      throw connectionError(`binding ${this.name}`, this.address, error)
    }
  }

  async invoke(request: BindingRequest): Promise<BindingResponse | undefined> {
    const { operation, metadata } = request
    if (operation === 'close') {
      await this[Symbol.asyncDispose]()
      return undefined
    }
    if (this.ended) throw new Error('component is closed')
    if (operation !== 'exec' && operation !== 'query') {
      throw new Error(`invalid operation type: ${operation}. Expected exec, query, or close`)
    }
    const { sql } = metadata
    if (!sql) throw new Error('required metadata not set: sql')
    const params = metadata.params ? readParams(metadata.params) : []
    const start = new Date()
    const result = await this.run(sql, params)
    const end = new Date()
    return {
      ...(operation === 'query' && { data: Buffer.from(JSON.stringify(result.rows)) }),
      metadata: {
        operation,
        sql,
        'start-time': start.toISOString(),
        ...(operation === 'exec' && { 'rows-affected': String(result.rowCount ?? 0) }),
        'end-time': end.toISOString(),
        duration: formatGoDuration(end.getTime() - start.getTime()),
      },
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.ended ??= this.server[Symbol.asyncDispose]()
    return this.ended
  }

  private async run(text: string, values: unknown[]): Promise<QueryArrayResult> {
    try {
      const result = await this.server.during(() =>
        this.server.pool.query({ text, ...(values.length > 0 && { values }), rowMode: 'array' }),
      )
      // Several statements in one text give a result each; the last one counts.
      return Array.isArray(result) ? (result.at(-1) as QueryArrayResult) : result
    } catch (error) {
      throw new Error(`error executing query: ${error instanceof Error ? error.message : String(error)}`, { cause: error })
    }
  }
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

const number = (text: string) => (/^-?\d/.test(text) ? rawJSON(text) : text)
const date = (text: string) => (/^\d{4}-/.test(text) ? `${text}T00:00:00Z` : text)
const time = (text: string) => (/^\d{4}-/.test(text) ? `${text.replace(' ', 'T')}Z` : text)
/** PostgreSQL leaves out the minutes of an offset that has none. */
const instant = (text: string) =>
  /^\d{4}-/.test(text) ? new Date(text.replace(' ', 'T').replace(/([+-]\d\d)$/, '$1:00')).toISOString() : text

/** Values as JSON shows them best: numbers of any size exact, times in RFC 3339, bytes in Base64; the rest as pg has it. */
const PARSERS = new Map<number, (text: string) => unknown>([
  [types.builtins.INT8, number],
  [types.builtins.NUMERIC, number],
  [types.builtins.DATE, date],
  [types.builtins.TIMESTAMP, time],
  [types.builtins.TIMESTAMPTZ, instant],
  [types.builtins.BYTEA, (text) => Buffer.from(text.replace(/^\\x/, ''), 'hex').toString('base64')],
])
const jsonTypes: CustomTypesConfig = {
  getTypeParser: (id, format) => PARSERS.get(id) ?? types.getTypeParser(id, format),
}

/** bindings.postgresql, bindings.postgres: runs SQL. */
export const driver: DriverModule<Binding> = {
  summary: 'Runs SQL in PostgreSQL: `exec` for changes, `query` for rows.',
  metadata: connectionFields,
  create: (context) => new PostgresBinding(context),
}
