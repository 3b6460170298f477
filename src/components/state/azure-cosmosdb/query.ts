import type { Filter, StateQuery } from '../../../blocks/state/query.ts'
import type { Parameter } from '../../azure/cosmos-container.ts'

const SIGNS = { EQ: '=', NEQ: '!=', GT: '>', GTE: '>=', LT: '<', LTE: '<=' } as const

/** A state query as Cosmos DB's SQL, over the member `value` of documents. Texts and numbers are compared where daprd does, and refused elsewhere. */
export function toSql({ filter, sort }: Pick<StateQuery, 'filter' | 'sort'>): { sql: string; parameters: Parameter[] } {
  const parameters: Parameter[] = []
  const parameter = (value: unknown) => {
    const name = `@__param__${parameters.length}__`
    parameters.push({ name, value })
    return name
  }
  const text = (value: unknown) => (typeof value === 'string' ? parameter(value) : refuse(value, 'string'))
  const condition = (part: Filter): string => {
    switch (part.op) {
      case 'AND':
      case 'OR':
        return part.filters.map((one) => ('filters' in one ? `(${condition(one)})` : condition(one))).join(` ${part.op} `)
      case 'IN':
        if (part.values.length === 0) throw new Error(`empty IN operator for key ${JSON.stringify(part.key)}`)
        return `${member(part.key)} IN (${part.values.map(text).join(', ')})`
      case 'EQ':
      case 'NEQ':
        return `${member(part.key)} ${SIGNS[part.op]} ${text(part.value)}`
      default:
        return `${member(part.key)} ${SIGNS[part.op]} ${typeof part.value === 'number' ? parameter(part.value) : refuse(part.value, 'number')}`
    }
  }
  const where = filter ? ` WHERE ${condition(filter)}` : ''
  const order = sort.map(({ key, descending }) => `${member(key)} ${descending ? 'DESC' : 'ASC'}`).join(', ')
  return { sql: `SELECT * FROM c${where}${order && ` ORDER BY ${order}`}`, parameters }
}

/** Each name quoted, so that it may be any: a word of SQL, or nothing that SQL knows. */
function member(key: string): string {
  return ['value', ...key.split('.')].reduce((path, name) => `${path}[${JSON.stringify(name)}]`, 'c')
}

function refuse(value: unknown, expected: string): never {
  throw new Error(`unsupported type of value ${value === null ? '<nil>' : JSON.stringify(value)}; expected ${expected}`)
}
