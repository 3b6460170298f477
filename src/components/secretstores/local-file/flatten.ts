/** Nested objects and arrays as one level, names joined by the separator; array members are named by their index. */
export function flatten(value: object, separator: string, prefix = ''): Map<string, string> {
  const flat = new Map<string, string>()
  for (const [name, member] of Object.entries(value)) {
    const path = prefix ? `${prefix}${separator}${name}` : name
    if (member !== null && typeof member === 'object') for (const [inner, text] of flatten(member, separator, path)) flat.set(inner, text)
    else flat.set(path, goText(member))
  }
  return flat
}

/** A JSON scalar as daprd shows it: what is no string comes out in Go's notation for a wrong format verb. */
export function goText(value: unknown): string {
  switch (typeof value) {
    case 'string':
      return value
    case 'number':
      return `%!s(float64=${goFloat(value)})`
    case 'boolean':
      return `%!s(bool=${value})`
    default:
      return '%!s(<nil>)'
  }
}

/** Go's %v of a float64: exponents from 1e21 and below 1e-4, of two digits at least. */
function goFloat(value: number): string {
  const size = Math.abs(value)
  if (value === 0 || (size >= 1e-4 && size < 1e21)) return String(value)
  return value.toExponential().replace(/e([+-])(\d)$/, 'e$10$2')
}
