/** A matcher for SQL's LIKE: `%` any text, `_` one character, `\` takes the next one literally. Throws on an empty pattern. */
export function likeMatcher(pattern: string): (text: string) => boolean {
  const expression = new RegExp(likeExpression(pattern, RegExp.escape), 's')
  return (text) => expression.test(text)
}

/** The same as the text of a regular expression, for which a dot has to mean any character. */
export function likeExpression(pattern: string, literally: (char: string) => string): string {
  checkPattern(pattern)
  let source = ''
  for (let at = 0; at < pattern.length; at++) {
    const char = pattern[at] as string
    if (char === '%') source += '.*'
    else if (char === '_') source += '.'
    else source += literally(char === '\\' && at + 1 < pattern.length ? (pattern[++at] as string) : char)
  }
  return `^${source}$`
}

/** Refuses the empty pattern, which would mean nothing. */
export function checkPattern(pattern: string): void {
  if (pattern === '') throw new Error('key pattern is empty: use % for all keys')
}
