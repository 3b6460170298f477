import type { StateQueryResult } from '../../../blocks/state/driver.ts'
import type { Filter, StateQuery } from '../../../blocks/state/query.ts'
import type { Argument } from '../../redis/client.ts'
import { alias, type QueryIndex } from './indexes.ts'

/** Kept: a sign that the app itself escaped, and the star after the beginning of a word. All others only separate words. */
const SIGNS = /(\\[!-/:-@[-^`{-~])|(?<=[^\s!-/:-@[-^`{-~]{2})(\*)(?=\s|$)|[!-/:-@[-^`{-~]/g

/** A state query as arguments of FT.SEARCH; the token is the number of results already seen. */
export function toSearch(index: QueryIndex, query: StateQuery): Argument[] {
  const args: Argument[] = [index.name, query.filter ? condition(query.filter, index) : '*']
  const [sort, second] = query.sort
  if (second) throw new Error('multiple SORTBY steps are not allowed. Sort multiple fields in a single step')
  if (sort) args.push('SORTBY', field(index, sort.key), ...(sort.descending ? ['DESC'] : []))
  if (query.limit > 0) args.push('LIMIT', offsetOf(query), query.limit)
  return [...args, 'RETURN', 2, '$.data', '$.version']
}

/** Reads the reply to a search: how many there are, and for each its key and a list of names and values. */
export function readSearch(reply: unknown, query: StateQuery): StateQueryResult {
  if (!Array.isArray(reply)) throw new Error('the answer of the search module is no list')
  const results: StateQueryResult['results'] = []
  for (let at = 1; at + 1 < reply.length; at += 2) {
    const [, data, , etag] = Array.isArray(reply[at + 1]) ? (reply[at + 1] as unknown[]) : []
    // Gone since the index was read.
    if (typeof data !== 'string') continue
    results.push({ key: String(reply[at]), data: Buffer.from(jsonOf(data)), ...(typeof etag === 'string' ? { etag } : {}) })
  }
  const seen = (reply.length - 1) >> 1
  return query.limit > 0 && seen > 0 ? { results, token: String(offsetOf(query) + seen) } : { results }
}

/** The module gives a string as what is in it. */
function jsonOf(text: string): string {
  try {
    JSON.parse(text)
    return text
  } catch {
    return JSON.stringify(text)
  }
}

function offsetOf({ token }: StateQuery): number {
  if (token !== '' && !/^\d{1,15}$/.test(token)) throw new Error(`invalid token ${JSON.stringify(token)}`)
  return Number(token || 0)
}

function condition(filter: Filter, index: QueryIndex): string {
  switch (filter.op) {
    case 'AND':
    case 'OR':
      return `(${filter.filters.map((part) => condition(part, index)).join(filter.op === 'AND' ? ' ' : '|')})`
    case 'IN': {
      const { key, values } = filter
      if (values.length < 2) throw new Error(`too few values in IN operator for key ${JSON.stringify(key)}`)
      return `(${values.map((value) => equal(index, key, value)).join('|')})`
    }
    case 'EQ':
      return equal(index, filter.key, filter.value)
    case 'NEQ':
      return `-${equal(index, filter.key, filter.value)}`
    default: {
      const { op, key, value } = filter
      const name = field(index, key)
      if (typeof value === 'string') throw new Error(`unsupported type of value ${value}; string type not permitted`)
      const bound = `${op === 'GT' || op === 'LT' ? '(' : ''}${numberOf(op, value)}`
      return op === 'GT' || op === 'GTE' ? `(@${name}:[${bound} +inf])` : `(@${name}:[-inf ${bound}])`
    }
  }
}

function equal(index: QueryIndex, key: string, value: unknown): string {
  const name = field(index, key)
  if (typeof value !== 'string') {
    const number = numberOf('EQ', value)
    return `(@${name}:[${number} ${number}])`
  }
  const words = value.replace(SIGNS, (_, escaped?: string, star?: string) => escaped ?? star ?? ' ').trim()
  if (words === '') throw new Error(`the search module finds words, and ${JSON.stringify(value)} has none`)
  return `(@${name}:(${words}))`
}

function numberOf(op: string, value: unknown): string {
  if (typeof value !== 'number') throw new Error(`${op} compares text or numbers, not ${JSON.stringify(value)}`)
  return String(value)
}

function field(index: QueryIndex, key: string): string {
  const at = index.keys.findIndex((one) => one.key === key)
  if (at < 0) throw new Error(`JSON path ${JSON.stringify(key)} is not indexed`)
  return alias(at)
}
