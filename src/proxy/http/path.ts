/** A path without `.` and `..`, with slashes for backslashes; undefined: it leads out of the root. The query is left as it is. */
export function normalizePath(path: string): string | undefined {
  const query = path.indexOf('?')
  const whole = (query < 0 ? path : path.slice(0, query)).replace(/\\/g, '/').replace(/%2e/gi, '.').replace(/%5c/gi, '/')
  if (!/\/\.{1,2}(?:\/|$)/.test(whole)) return query < 0 ? whole : whole + path.slice(query)
  const kept: string[] = []
  const parts = whole.split('/')
  for (let i = 1; i < parts.length; i++) {
    const part = parts[i] as string
    const last = i === parts.length - 1
    if (part === '..') {
      if (kept.length === 0) return undefined
      kept.pop()
      if (last) kept.push('')
    } else if (part === '.') {
      if (last) kept.push('')
    } else kept.push(part)
  }
  return `/${kept.join('/')}${query < 0 ? '' : path.slice(query)}`
}

/** Several slashes as one. */
export function mergeSlashes(path: string): string {
  const query = path.indexOf('?')
  const end = query < 0 ? path.length : query
  const at = path.indexOf('//')
  return at < 0 || at >= end ? path : path.slice(0, end).replace(/\/{2,}/g, '/') + path.slice(end)
}

/** The authority without its port. */
export function withoutPort(authority: string, only?: number): string {
  const found = /^(.*?)(?::(\d+))?$/.exec(authority)
  if (found?.[2] === undefined || (only !== undefined && Number(found[2]) !== only)) return authority
  return found[1] as string
}
