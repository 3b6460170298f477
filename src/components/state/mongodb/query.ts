import type { Filter, StateQuery } from '../../../blocks/state/query.ts'

export interface MongoFind {
  filter: Record<string, unknown>
  sort: Record<string, 1 | -1>
  limit: number
  skip: number
}

const SIGNS = { EQ: '$eq', NEQ: '$ne', GT: '$gt', GTE: '$gte', LT: '$lt', LTE: '$lte' } as const

/** A state query over the member `value` of documents; the token is the number of documents already seen. */
export function toFind(query: StateQuery): MongoFind {
  if (query.token !== '' && !/^\d{1,15}$/.test(query.token)) throw new Error(`invalid token ${JSON.stringify(query.token)}`)
  return {
    filter: query.filter ? condition(query.filter) : {},
    sort: { ...Object.fromEntries(query.sort.map(({ key, descending }) => [`value.${key}`, descending ? -1 : 1] as const)), _id: 1 },
    limit: query.limit,
    skip: Number(query.token || 0),
  }
}

function condition(filter: Filter): Record<string, unknown> {
  switch (filter.op) {
    case 'AND':
    case 'OR':
      return { [filter.op === 'AND' ? '$and' : '$or']: filter.filters.map(condition) }
    case 'IN':
      if (filter.values.length === 0) throw new Error(`empty IN operator for key ${JSON.stringify(filter.key)}`)
      return { [`value.${filter.key}`]: { $in: filter.values } }
    case 'EQ':
    case 'NEQ':
      return { [`value.${filter.key}`]: { [SIGNS[filter.op]]: filter.value } }
    default:
      if (typeof filter.value !== 'number') throw new Error(`${filter.op} compares numbers, not ${JSON.stringify(filter.value)}`)
      return { [`value.${filter.key}`]: { [SIGNS[filter.op]]: filter.value } }
  }
}
