import { messageOf } from '../../errors.ts'
import { parseJson } from './go-json.ts'

export type Comparison = 'EQ' | 'NEQ' | 'GT' | 'GTE' | 'LT' | 'LTE'
export type Filter =
  | { op: Comparison; key: string; value: unknown }
  | { op: 'IN'; key: string; values: unknown[] }
  | { op: 'AND' | 'OR'; filters: Filter[] }

/** A state query, parsed; what a driver's `query` receives. Keys are dotted paths inside the value. */
export interface StateQuery {
  filter?: Filter
  sort: { key: string; descending: boolean }[]
  limit: number
  token: string
}

const COMPARISONS = new Set(['EQ', 'NEQ', 'GT', 'GTE', 'LT', 'LTE'])
const DEPTH = 64

/** As parseQuery, with daprd's word for what cannot be read. */
export function readQuery(text: string): ReturnType<typeof parseQuery> {
  try {
    return parseQuery(text)
  } catch (error) {
    throw new Error(`failed to parse JSON query body: ${messageOf(error)}`, { cause: error })
  }
}

/** Parses the body of a query; throws an Error that says what is wrong with it. */
export function parseQuery(body: string): StateQuery {
  const given = record(parseJson(body, true), 'query')
  const page = given.page === undefined ? {} : record(given.page, 'page')
  const query: StateQuery = { sort: [], limit: 0, token: '' }
  if (given.filter !== undefined && given.filter !== null && Object.keys(record(given.filter, 'filter')).length)
    query.filter = parseFilter(given.filter, 0)
  if (given.sort !== undefined && given.sort !== null) {
    if (!Array.isArray(given.sort)) throw new Error('sort is not a list')
    query.sort = given.sort.map((entry: unknown) => {
      const { key, order = 'ASC' } = record(entry, 'sort entry')
      if (typeof key !== 'string' || key === '') throw new Error('sort entry without key')
      if (order !== 'ASC' && order !== 'DESC' && order !== '')
        throw new Error(`sort order ${JSON.stringify(order)} is neither ASC nor DESC`)
      return { key, descending: order === 'DESC' }
    })
  }
  if (page.limit !== undefined) {
    if (!Number.isInteger(page.limit)) throw new Error('page limit is not a whole number')
    query.limit = Math.max(0, page.limit as number)
  }
  if (page.token !== undefined) query.token = String(page.token)
  return query
}

function parseFilter(given: unknown, depth: number): Filter {
  if (depth > DEPTH) throw new Error('filters are nested too deep')
  const entries = Object.entries(record(given, 'filter'))
  const [op, operand] = entries[0] ?? ['', undefined]
  if (entries.length !== 1) throw new Error('filter unit must have exactly one element')
  if (op === 'AND' || op === 'OR') {
    if (!Array.isArray(operand)) throw new Error(`${op} filter is not a list`)
    if (operand.length < 2) throw new Error(`${op} filter must contain at least two units`)
    return { op, filters: operand.map((filter) => parseFilter(filter, depth + 1)) }
  }
  if (op !== 'IN' && !COMPARISONS.has(op)) throw new Error(`unsupported filter ${JSON.stringify(op)}`)
  const pairs = Object.entries(record(operand, `${op} filter`))
  const [key, value] = pairs[0] ?? ['', undefined]
  if (pairs.length !== 1) throw new Error(`${op} filter must contain exactly one pair`)
  if (op !== 'IN') return { op: op as Comparison, key, value }
  if (!Array.isArray(value)) throw new Error('IN filter value is not a list')
  return { op, key, values: value }
}

function record(given: unknown, what: string): Record<string, unknown> {
  if (typeof given !== 'object' || given === null || Array.isArray(given)) throw new Error(`${what} is not an object`)
  return given as Record<string, unknown>
}
