/** Where something stands. */
export interface Place {
  file: string
  line: number
}

export interface Parameter extends Place {
  name: string
  value: string
  /** In quotes: text and nothing else. */
  quoted: boolean
}

/** A mistake in Fluentd's configuration, or something that is not acted on; the message begins with file and line. */
export class FluentdError extends Error {
  override readonly name = 'FluentdError'

  constructor({ file, line }: Place, message: string) {
    super(`${file}:${line}: ${message}`)
  }
}

/** `<name argument>` with what is in it. Remembers what was asked for: what nobody has asked for is not acted on. */
export class Section {
  readonly name: string
  readonly argument: string
  readonly place: Place
  readonly parameters: Parameter[] = []
  readonly sections: Section[] = []
  readonly #asked = new Set<Parameter | Section>()

  constructor(name: string, argument: string, place: Place) {
    this.name = name
    this.argument = argument
    this.place = place
  }

  /** The last parameter of this name. */
  find(...names: string[]): Parameter | undefined {
    let found: Parameter | undefined
    for (const parameter of this.parameters)
      if (names.includes(parameter.name)) {
        this.#asked.add(parameter)
        found = parameter
      }
    return found
  }

  text(...names: string[]): string | undefined {
    return this.find(...names)?.value
  }

  required(name: string): string {
    const found = this.find(name)
    if (!found) throw new FluentdError(this.place, `<${this.name}> needs ${name}`)
    return found.value
  }

  flag(...names: string[]): boolean | undefined {
    const found = this.find(...names)
    if (!found) return undefined
    if (/^(true|yes|)$/.test(found.value)) return true
    if (/^(false|no)$/.test(found.value)) return false
    throw new FluentdError(found, `${found.name} is true or false, not ${found.value}`)
  }

  number(...names: string[]): number | undefined {
    const found = this.find(...names)
    if (!found) return undefined
    if (!/^\d{1,15}$/.test(found.value)) throw new FluentdError(found, `${found.name} is a number, not ${found.value}`)
    return Number(found.value)
  }

  /** A time such as 5s, 10m, 1.5 or 1d as our durations have it. */
  duration(...names: string[]): string | undefined {
    const found = this.find(...names)
    if (!found) return undefined
    const parts = /^(\d+(?:\.\d+)?)([smhd]?)$/.exec(found.value)
    if (!parts) throw new FluentdError(found, `${found.name} is a time such as 5s or 10m, not ${found.value}`)
    return `${Math.round(Number(parts[1]) * ({ '': 1, s: 1, m: 60, h: 3600, d: 86_400 }[parts[2] as string] as number) * 1000)}ms`
  }

  /** A size such as 8m or 512k, whose units are powers of 1024, as our quantities have it. */
  size(...names: string[]): string | undefined {
    const found = this.find(...names)
    if (!found) return undefined
    const parts = /^(\d+)([kmgt]?)b?$/i.exec(found.value)
    if (!parts) throw new FluentdError(found, `${found.name} is a size such as 8m, not ${found.value}`)
    return `${parts[1]}${{ '': '', k: 'Ki', m: 'Mi', g: 'Gi', t: 'Ti' }[(parts[2] as string).toLowerCase()]}`
  }

  /** `[…]` in JSON, or words with commas. */
  list(...names: string[]): string[] | undefined {
    const found = this.find(...names)
    if (!found) return undefined
    if (!found.value.startsWith('['))
      return found.value
        .split(',')
        .map((word) => word.trim())
        .filter((word) => word !== '')
    try {
      const list: unknown = JSON.parse(found.value)
      if (Array.isArray(list)) return list.map(String)
    } catch {}
    throw new FluentdError(found, `${found.name} is no list: ${found.value}`)
  }

  /** Parameters that change nothing here, because it is always so, or because there is nothing to tune. */
  ignore(...names: string[]): void {
    this.find(...names)
  }

  /** All sections of this name. */
  all(name: string): Section[] {
    const found = this.sections.filter((section) => section.name === name)
    for (const section of found) this.#asked.add(section)
    return found
  }

  one(name: string): Section | undefined {
    return this.all(name).at(-1)
  }

  /** What nobody has asked for, here and in the sections that were asked for. */
  *rest(): Iterable<FluentdError> {
    for (const parameter of this.parameters)
      if (!this.#asked.has(parameter)) yield new FluentdError(parameter, `${parameter.name} of <${this.name}> is not acted on`)
    for (const section of this.sections)
      if (this.#asked.has(section)) yield* section.rest()
      else yield new FluentdError(section.place, `<${section.name}> in <${this.name}> is not acted on`)
  }
}
