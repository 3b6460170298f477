import type { LabelRules } from './label-rules.ts'

/** Most label combinations that a metric keeps; what comes after is counted under the label value `other`. */
const MAX_SERIES = 2000
/** Series that are written in one go. */
const PIECE = 50

/** A metric with labels: one series for each combination of their values, written in Prometheus' text format. */
abstract class Labelled<Series> {
  readonly name: string
  readonly help: string
  readonly #labels: readonly string[]
  readonly #rules: LabelRules | undefined
  readonly #series = new Map<string, Series>()
  readonly #texts = new Map<Series, string>()
  #full: Series | undefined

  /** Labels in the order of the alphabet, as Dapr's page has them. */
  constructor(name: string, help: string, labels: readonly string[], rules?: LabelRules) {
    this.name = name
    this.help = help
    this.#labels = labels
    this.#rules = rules?.for(name, labels)
  }

  protected abstract create(): Series
  protected abstract readonly type: string
  protected abstract rows(labels: string, series: Series): string

  /** The series of these label values, in the order of the labels; it may be kept and used again. */
  series(...values: readonly string[]): Series {
    const given = values.length === 1 ? (values[0] as string) : values.join('\u0000')
    return this.#series.get(given) ?? this.#add(given, values)
  }

  #add(given: string, values: readonly string[]): Series {
    if (this.#series.size >= MAX_SERIES) {
      this.#full ??= this.#named(this.#labels.map((label, index) => (label === 'app_id' ? (values[index] as string) : 'other')))
      return this.#full
    }
    const ruled = this.#rules ? this.#rules.apply(this.#labels, values) : values
    const key = ruled.join('\u0000')
    const series = this.#series.get(key) ?? this.#named(ruled)
    this.#series.set(key, series)
    if (key !== given) this.#series.set(given, series)
    return series
  }

  #named(values: readonly string[]): Series {
    const series = this.create()
    this.#texts.set(series, this.#labels.map((label, index) => `${label}="${escaped(values[index] ?? '')}"`).join(','))
    return series
  }

  /** Its part of the page, a piece at a time; nothing while nothing is counted. */
  *parts(): Generator<string> {
    if (this.#texts.size === 0) return
    let rows = `# HELP ${this.name} ${this.help}\n# TYPE ${this.name} ${this.type}\n`
    let count = 0
    for (const [series, labels] of this.#texts) {
      rows += this.rows(labels, series)
      if (++count % PIECE !== 0) continue
      yield rows
      rows = ''
    }
    if (rows !== '') yield rows
  }

  text(): string {
    return [...this.parts()].join('')
  }
}

/** A number that its owner changes in place. */
export interface NumberSeries {
  value: number
}

/** A monotonic counter. */
export class Counter extends Labelled<NumberSeries> {
  protected override readonly type: string = 'counter'
  protected override create = (): NumberSeries => ({ value: 0 })
  protected override rows = (labels: string, { value }: NumberSeries) => `${this.name}${labels === '' ? '' : `{${labels}}`} ${value}\n`

  /** Adds one; `values` in the order of the labels. */
  add(...values: string[]): void {
    this.series(...values).value++
  }
}

/** A value that goes up and down. */
export class Gauge extends Counter {
  protected override readonly type = 'gauge'

  /** `values` in the order of the labels. */
  set(value: number, ...values: string[]): void {
    this.series(...values).value = value
  }
}

/** Counts of values by size. */
export class HistogramSeries {
  readonly bounds: readonly number[]
  /** One for each bound, and one for what is above them all. */
  readonly counts: Float64Array
  sum = 0

  constructor(bounds: readonly number[]) {
    this.bounds = bounds
    this.counts = new Float64Array(bounds.length + 1)
  }

  record(value: number): void {
    const { bounds } = this
    let low = 0
    let high = bounds.length
    while (low < high) {
      const middle = (low + high) >> 1
      if (value > (bounds[middle] as number)) low = middle + 1
      else high = middle
    }
    this.counts[low] = (this.counts[low] as number) + 1
    this.sum += value
  }
}

/** Values in buckets; each bucket's count holds those below it, as Prometheus wants them. */
export class Histogram extends Labelled<HistogramSeries> {
  protected override readonly type = 'histogram'
  readonly #bounds: readonly number[]

  constructor(name: string, help: string, labels: readonly string[], bounds: readonly number[], rules?: LabelRules) {
    super(name, help, labels, rules)
    this.#bounds = bounds
  }

  protected override create = () => new HistogramSeries(this.#bounds)

  protected override rows = (labels: string, { counts, sum }: HistogramSeries) => {
    let text = ''
    let total = 0
    for (const [index, bound] of this.#bounds.entries()) {
      total += counts[index] as number
      text += `${this.name}_bucket{${labels},le="${bound}"} ${total}\n`
    }
    total += counts[this.#bounds.length] as number
    return `${text}${this.name}_bucket{${labels},le="+Inf"} ${total}\n${this.name}_sum{${labels}} ${sum}\n${this.name}_count{${labels}} ${total}\n`
  }
}

const escaped = (text: string) => text.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')
