import type { ApiObject } from './store.ts'

/** `a=b,c!=d,e,!f,g in (h,i)` on labels; absent: everything matches. */
export function labelMatcher(text: string | null): (object: ApiObject) => boolean {
  const terms = (text ?? '').match(/[^,(]+(\([^)]*\))?/g) ?? []
  const tests = terms.map((raw) => {
    const term = raw.trim()
    const [, key = '', negated, list] = /^(\S+)\s+(not)?\s*in\s*\(([^)]*)\)$/.exec(term) ?? []
    if (list !== undefined) {
      const values = new Set(list.split(',').map((value) => value.trim()))
      return (labels: Record<string, string>) => values.has(labels[key] ?? '\u0000') !== (negated === 'not')
    }
    const [, name = '', sign, value] = /^([^=!]+?)\s*(!=|==?)\s*(.*)$/.exec(term) ?? []
    if (sign === '!=') return (labels: Record<string, string>) => labels[name] !== value
    if (sign !== undefined) return (labels: Record<string, string>) => labels[name] === value
    if (term.startsWith('!')) return (labels: Record<string, string>) => !Object.hasOwn(labels, term.slice(1))
    return (labels: Record<string, string>) => Object.hasOwn(labels, term)
  })
  return ({ metadata }) => tests.every((test) => test(metadata.labels ?? {}))
}

/** The selector of an object's spec: matchLabels and matchExpressions. */
export function selectorMatches(
  selector: { matchLabels?: Record<string, string>; matchExpressions?: { key: string; operator: string; values?: string[] }[] } | undefined,
  labels: Record<string, string> = {},
): boolean {
  const { matchLabels = {}, matchExpressions = [] } = selector ?? {}
  return (
    Object.entries(matchLabels).every(([key, value]) => labels[key] === value) &&
    matchExpressions.every(({ key, operator, values = [] }) => {
      const has = Object.hasOwn(labels, key)
      if (operator === 'Exists') return has
      if (operator === 'DoesNotExist') return !has
      const within = has && values.includes(labels[key] as string)
      return operator === 'In' ? within : !within
    })
  )
}

/** `metadata.name=a,metadata.namespace=b,spec.nodeName!=c`. */
export function fieldMatcher(text: string | null): (object: ApiObject) => boolean {
  const tests = (text ?? '')
    .split(',')
    .filter((term) => term !== '')
    .map((term) => {
      const [, path = '', sign, value] = /^([^=!]+)(!=|==?)(.*)$/.exec(term) ?? []
      const read = (object: unknown) =>
        path.split('.').reduce((at: unknown, key) => (at as Record<string, unknown> | undefined)?.[key], object)
      return (object: ApiObject) => (String(read(object) ?? '') === value) === (sign !== '!=')
    })
  return (object) => tests.every((test) => test(object))
}
