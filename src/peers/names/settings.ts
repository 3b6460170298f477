import { isTruthy, parseDuration } from '../../components/metadata.ts'

/** The `configuration` of a way of finding sidecars; names are read in any case, as Dapr reads them. */
export class Settings {
  readonly #values = new Map<string, unknown>()

  constructor(configuration: unknown) {
    if (configuration === undefined || configuration === null) return
    if (typeof configuration !== 'object' || Array.isArray(configuration))
      throw new Error('configuration must be an object; see docs/name-resolution.md for its members')
    for (const [name, value] of Object.entries(configuration)) this.#values.set(name.toLowerCase(), value)
  }

  /** As written; undefined when absent or null. */
  get(...names: string[]): unknown {
    for (const name of names) {
      const value = this.#values.get(name.toLowerCase())
      if (value !== undefined && value !== null) return value
    }
    return undefined
  }

  text(...names: string[]): string | undefined {
    const value = this.get(...names)
    if (value === undefined) return undefined
    if (typeof value === 'object') throw new Error(`${names[0]} must be a text`)
    return String(value) || undefined
  }

  flag(name: string, fallback = false): boolean {
    const value = this.get(name)
    return value === undefined ? fallback : value === true || isTruthy(String(value))
  }

  /** Milliseconds of a Go duration, or of a number of seconds. */
  milliseconds(fallback: number, ...names: string[]): number {
    const text = this.text(...names)
    if (text === undefined) return fallback
    const value = parseDuration(text)
    if (value === undefined) throw new Error(`${names[0]} must be a duration such as 5s or 500ms, not ${JSON.stringify(text)}`)
    return value
  }

  number(name: string): number | undefined {
    const text = this.text(name)
    if (text === undefined) return undefined
    const value = Number(text)
    if (!Number.isInteger(value)) throw new Error(`${name} must be a whole number, not ${JSON.stringify(text)}`)
    return value
  }

  texts(name: string): string[] {
    const value = this.get(name)
    if (value === undefined) return []
    return (Array.isArray(value) ? value : [value]).map(String)
  }

  /** A member that has members itself; empty when absent. */
  inside(name: string): Settings {
    return new Settings(this.get(name))
  }
}
