import { HistogramSeries } from '../../telemetry/labelled.ts'
import type { MetricFamily } from './families.ts'
import { escapedLabel } from './names.ts'

export type SeriesType = 'counter' | 'gauge' | 'histogram' | 'set'

/** One series; its owner changes it in place. */
export interface Series {
  /** As they stand between braces, sorted by name. */
  text: string
  labels: Readonly<Record<string, string>>
  value: number
  histogram: HistogramSeries | undefined
  members: Set<string> | undefined
  /** Sweep in which something was last added to it. */
  seen: number
}

interface Family {
  name: string
  type: SeriesType
  series: Map<string, Series>
}

export const DEFAULT_BUCKETS: readonly number[] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]
/** Members of a set that are told apart; what comes after is not counted any more. */
const MOST_MEMBERS = 10_000

/** What came by StatsD, by name and labels; bounded: `find` gives undefined for a series too many. */
export class SeriesTable {
  readonly #max: number
  readonly #families = new Map<string, Family>()
  #size = 0
  /** Counts sweeps. */
  turn = 0

  constructor(max: number) {
    this.#max = max
  }

  get size(): number {
    return this.#size
  }

  /** The series of this name and these labels, made when it is new; or why there is none. */
  find(name: string, type: SeriesType, labels: Readonly<Record<string, string>>, buckets = DEFAULT_BUCKETS): Series | 'conflict' | 'full' {
    const family = this.#families.get(name)
    if (family && family.type !== type) return 'conflict'
    // A histogram has three names.
    if (!family && this.#taken(name, type)) return 'conflict'
    const text = Object.keys(labels)
      .sort()
      .map((label) => `${label}="${escapedLabel(labels[label] as string)}"`)
      .join(',')
    const known = family?.series.get(text)
    if (known) return known
    if (this.#size >= this.#max) return 'full'
    const series: Series = {
      text,
      labels,
      value: 0,
      histogram: type === 'histogram' ? new HistogramSeries(buckets) : undefined,
      members: type === 'set' ? new Set() : undefined,
      seen: this.turn,
    }
    if (family) family.series.set(text, series)
    else this.#families.set(name, { name, type, series: new Map([[text, series]]) })
    this.#size++
    return series
  }

  #taken(name: string, type: SeriesType): boolean {
    const base = name.replace(/_(bucket|sum|count)$/, '')
    if (base !== name && this.#families.get(base)?.type === 'histogram') return true
    return type === 'histogram' && ['_bucket', '_sum', '_count'].some((end) => this.#families.has(name + end))
  }

  /** Ends a turn: series not seen in the last `turns` go. Gives how many. */
  sweep(turns: number): number {
    let gone = 0
    for (const family of this.#families.values()) {
      for (const [text, series] of family.series) {
        if (this.turn - series.seen < turns) continue
        family.series.delete(text)
        gone++
      }
      if (family.series.size === 0) this.#families.delete(family.name)
    }
    this.turn++
    this.#size -= gone
    return gone
  }

  /** Prometheus's text format. */
  text(): string {
    let page = ''
    for (const { name, type, series } of this.#families.values()) {
      page += `# HELP ${name} By StatsD.\n# TYPE ${name} ${type === 'set' ? 'gauge' : type}\n`
      for (const one of series.values())
        page += one.histogram ? histogramRows(name, one.text, one.histogram) : `${sample(name, one.text)} ${current(one)}\n`
    }
    return page
  }

  families(): MetricFamily[] {
    return [...this.#families.values()].map(({ name, type, series }): MetricFamily => {
      const all = [...series.values()]
      const help = 'By StatsD.'
      if (type !== 'histogram') {
        const points = all.map((one) => ({ attributes: one.labels, value: current(one) }))
        return { name, help, type: type === 'counter' ? 'counter' : 'gauge', points }
      }
      const points = all.map(({ labels, histogram }) => {
        const { bounds, counts, sum } = histogram as HistogramSeries
        return { attributes: labels, bounds, counts: [...counts], sum, count: counts.reduce((all, one) => all + one, 0) }
      })
      return { name, help, type, points }
    })
  }
}

/** Adds a member to a set. */
export function join(series: Series, member: string): void {
  const members = series.members as Set<string>
  if (members.size < MOST_MEMBERS) members.add(member)
}

const current = ({ value, members }: Series) => (members ? members.size : value)
const sample = (name: string, labels: string) => (labels === '' ? name : `${name}{${labels}}`)

function histogramRows(name: string, labels: string, { bounds, counts, sum }: HistogramSeries): string {
  const before = labels === '' ? '' : `${labels},`
  let rows = ''
  let total = 0
  for (const [index, count] of counts.entries()) {
    total += count
    rows += `${name}_bucket{${before}le="${index < bounds.length ? bounds[index] : '+Inf'}"} ${total}\n`
  }
  return `${rows}${sample(`${name}_sum`, labels)} ${sum}\n${sample(`${name}_count`, labels)} ${total}\n`
}
