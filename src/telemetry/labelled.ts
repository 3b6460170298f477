/** Most label combinations a counter keeps; what comes after is counted under the label value `other`. */
const MAX_SERIES = 2000

/** One metric with labels, written in Prometheus' text format. */
class Labelled {
  readonly name: string
  readonly help: string
  readonly #type: string
  readonly #labels: readonly string[]
  readonly #series = new Map<string, { values: readonly string[]; count: number }>()

  constructor(type: string, name: string, help: string, labels: readonly string[]) {
    this.#type = type
    this.name = name
    this.help = help
    this.#labels = labels
  }

  /** The series of these label values, in the order of the labels. */
  protected series(values: readonly string[]): { count: number } {
    let key = values.join('\u0000')
    let series = this.#series.get(key)
    if (!series) {
      const full = this.#series.size >= MAX_SERIES
      const kept = full ? values.map(() => 'other') : values
      key = full ? kept.join('\u0000') : key
      series = this.#series.get(key) ?? { values: kept, count: 0 }
      this.#series.set(key, series)
    }
    return series
  }

  text(): string {
    if (this.#series.size === 0) return ''
    const rows = [...this.#series.values()].map(
      ({ values, count }) =>
        `${this.name}{${this.#labels.map((label, i) => `${label}="${labelText(values[i] ?? '')}"`).join(',')}} ${count}`,
    )
    return `# HELP ${this.name} ${this.help}\n# TYPE ${this.name} ${this.#type}\n${rows.join('\n')}\n`
  }
}

/** A monotonic counter. */
export class Counter extends Labelled {
  constructor(name: string, help: string, labels: readonly string[]) {
    super('counter', name, help, labels)
  }

  /** Adds one; `values` in the order of the labels. */
  add(...values: string[]): void {
    this.series(values).count++
  }
}

/** A value that goes up and down. */
export class Gauge extends Labelled {
  constructor(name: string, help: string, labels: readonly string[]) {
    super('gauge', name, help, labels)
  }

  /** `values` in the order of the labels. */
  set(value: number, ...values: string[]): void {
    this.series(values).count = value
  }
}

const labelText = (text: string) => text.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')
