/** A JSON value as Go prints it by default (`%v`): what an outbox event carries when nobody called the value JSON. */
export function goText(value: unknown): string {
  if (value === null || value === undefined) return '<nil>'
  if (typeof value === 'number') return number(value)
  if (Array.isArray(value)) return `[${value.map(goText).join(' ')}]`
  if (typeof value === 'object') {
    const members = value as Record<string, unknown>
    return `map[${Object.keys(members)
      .sort()
      .map((name) => `${name}:${goText(members[name])}`)
      .join(' ')}]`
  }
  return String(value)
}

/** Go's %g: plain decimals from 1e-4 up to 1e6, else an exponent of two digits at least. */
function number(value: number): string {
  if (value === 0) return Object.is(value, -0) ? '-0' : '0'
  const [digits, exponent] = value.toExponential().split('e') as [string, string]
  const power = Number(exponent)
  if (power >= -4 && power < 6) return String(value)
  return `${digits}e${power < 0 ? '-' : '+'}${String(Math.abs(power)).padStart(2, '0')}`
}
