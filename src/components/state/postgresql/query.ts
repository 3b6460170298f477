import type { Filter, StateQuery } from '../../../blocks/state/query.ts'

export interface SqlQuery {
  text: string
  values: unknown[]
}

const SIGNS = { EQ: '=', NEQ: '!=', GT: '>', GTE: '>=', LT: '<', LTE: '<=' } as const

/**
 * A state query over jsonb values. Equality compares texts, as daprd does; order compares numbers as numbers
 * (daprd compares their texts there, by which 9 is more than 10). The token is the number of rows already seen.
 */
export function toSql(select: string, query: StateQuery): SqlQuery {
  const values: unknown[] = []
  const bind = (value: unknown, type: string) => `$${values.push(value)}::${type}`
  let text = select
  if (query.filter) text += ` WHERE ${condition(query.filter, bind)}`
  if (query.sort.length)
    text += ` ORDER BY ${query.sort.map(({ key, descending }) => `${path(key, bind, '->>')}${descending ? ' DESC' : ''}`).join(', ')}, row_id`
  else text += ' ORDER BY row_id'
  if (query.limit > 0) text += ` LIMIT ${query.limit}`
  if (query.token) text += ` OFFSET ${offsetOf(query)}`
  return { text, values }
}

/** Rows already seen. Throws when the token is none of ours. */
export function offsetOf(query: StateQuery): number {
  if (query.token === '') return 0
  if (!/^\d{1,15}$/.test(query.token)) throw new Error(`invalid token ${JSON.stringify(query.token)}`)
  return Number(query.token)
}

type Bind = (value: unknown, type: string) => string

function condition(filter: Filter, bind: Bind): string {
  switch (filter.op) {
    case 'AND':
    case 'OR':
      return `(${filter.filters.map((part) => condition(part, bind)).join(` ${filter.op} `)})`
    case 'IN':
      if (filter.values.length === 0) return 'false'
      return `${path(filter.key, bind, '->>')} = ANY(${bind(filter.values.map(textOf), 'text[]')})`
    case 'EQ':
    case 'NEQ':
      return `${path(filter.key, bind, '->>')} ${SIGNS[filter.op]} ${bind(textOf(filter.value), 'text')}`
    default: {
      if (typeof filter.value !== 'number') throw new Error(`${filter.op} compares numbers, not ${JSON.stringify(filter.value)}`)
      const member = path(filter.key, bind, '->')
      return `(jsonb_typeof(${member}) = 'number' AND ${member} ${SIGNS[filter.op]} to_jsonb(${bind(filter.value, 'numeric')}))`
    }
  }
}

/** `a.b` inside the value; names travel as parameters. */
function path(key: string, bind: Bind, last: '->' | '->>'): string {
  return `(value #>${last === '->>' ? '>' : ''} ${bind(key.split('.'), 'text[]')})`
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value)
}
