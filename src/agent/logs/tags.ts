/** Tags that are remembered for each pattern; beyond it, what is asked for again is worked out again. */
const KEPT = 1000

/**
 * Patterns of tags as Fluentd has them, several with spaces: `*` is one part between dots, `**` any number of parts, `{a,b}` one of several.
 * `app.**` matches `app` too.
 */
export function tagMatcher(patterns: string | undefined): (tag: string) => boolean {
  const given = (patterns ?? '**').trim().split(/\s+(?![^{]*\})/)
  if (given.includes('**')) return () => true
  const expression = new RegExp(`^(?:${given.map(expressionOf).join('|')})$`)
  const known = new Map<string, boolean>()
  return (tag) => {
    let answer = known.get(tag)
    if (answer === undefined) {
      answer = expression.test(tag)
      if (known.size >= KEPT) known.clear()
      known.set(tag, answer)
    }
    return answer
  }
}

function expressionOf(pattern: string): string {
  let out = ''
  let depth = 0
  for (let at = 0; at < pattern.length; at++) {
    const rest = pattern.slice(at)
    if (rest.startsWith('.**')) {
      out += '(?:\\..*)?'
      at += 2
    } else if (rest.startsWith('**.')) {
      out += '(?:.*\\.)?'
      at += 2
    } else if (rest.startsWith('**')) {
      out += '.*'
      at += 1
    } else if (rest.startsWith('*')) out += '[^.]*'
    else if (rest.startsWith('{')) {
      out += '(?:'
      depth++
    } else if (rest.startsWith('}') && depth > 0) {
      out += ')'
      depth--
    } else if (rest.startsWith(',') && depth > 0) out += '|'
    else out += (pattern[at] as string).replace(/[\\^$.*+?()[\]{}|/]/, '\\$&')
  }
  return out + ')'.repeat(depth)
}
