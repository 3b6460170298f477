import type { HistogramSeries } from '../../telemetry/labelled.ts'
import { type Mapped, tagLabels } from './names.ts'
import { join, type Series, type SeriesTable, type SeriesType } from './series.ts'

/** Why a line, or a series, did not come in. */
export const DROPS = ['malformed', 'series', 'conflict', 'mapping'] as const
export type Drop = (typeof DROPS)[number]

/** What lines with one name, type, rate and tags do; found once and kept. */
interface Target {
  kind: 'c' | 'g' | 'h' | 's'
  series: Series
  /** What one value counts for: 1 / sample rate, for timers in milliseconds 0.001 as the unit. */
  weight: number
  unit: number
}

/** Targets that are kept; more: all are found again. Lines that differ only in their value share one. */
const KEPT = 50_000
const TYPES: Readonly<Record<string, readonly [Target['kind'], SeriesType, unit: number]>> = {
  c: ['c', 'counter', 1],
  m: ['c', 'counter', 1],
  g: ['g', 'gauge', 1],
  ms: ['h', 'histogram', 0.001],
  h: ['h', 'histogram', 1],
  d: ['h', 'histogram', 1],
  s: ['s', 'set', 1],
}
const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/

/**
 * Reads StatsD and DogStatsD (1.0 to 1.3): `name:value|type[|@rate][|#tags]`, several values between colons, several lines a packet;
 * tags also as InfluxDB (`name,a=b`) and Graphite (`name;a=b`) write them. Events and service checks are counted and passed over.
 */
export class StatsdReader {
  readonly #table: SeriesTable
  readonly #map: (name: string) => Mapped | undefined
  readonly #buckets: readonly number[] | undefined
  readonly #targets = new Map<string, Map<string, Target | Drop>>()
  #kept = 0
  samples = 0
  events = 0
  serviceChecks = 0
  readonly dropped: Record<Drop, number> = { malformed: 0, series: 0, conflict: 0, mapping: 0 }

  constructor(table: SeriesTable, map: (name: string) => Mapped | undefined, buckets?: readonly number[]) {
    this.#table = table
    this.#map = map
    this.#buckets = buckets
  }

  /** Forgets what lines do: their series may be gone. */
  forget(): void {
    this.#targets.clear()
    this.#kept = 0
  }

  /** Takes one packet, or lines of a stream. */
  read(text: string): void {
    let start = 0
    for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n', start)) {
      if (end > start) this.#line(text.slice(start, end))
      start = end + 1
    }
    if (start === 0) this.#line(text)
    else if (start < text.length) this.#line(text.slice(start))
  }

  #line(given: string): void {
    const line = given.endsWith('\r') ? given.slice(0, -1) : given
    if (line === '') return
    if (line.charCodeAt(0) === 95 && this.#other(line)) return
    const colon = line.indexOf(':')
    const bar = line.indexOf('|', colon + 1)
    if (colon <= 0 || bar < 0) return this.#drop('malformed')
    const name = line.slice(0, colon)
    const rest = line.slice(bar)
    const value = line.slice(colon + 1, bar)
    const target = this.#targets.get(name)?.get(rest) ?? this.#target(name, value, rest)
    if (typeof target === 'string') return this.#drop(target)
    target.series.seen = this.#table.turn
    if (target.kind === 's') {
      join(target.series, value)
      this.samples++
    } else if (value.includes(':')) for (const one of value.split(':')) this.#add(target, one)
    else this.#add(target, value)
  }

  #add({ kind, series, weight, unit }: Target, text: string): void {
    const value = Number(text)
    if (!Number.isFinite(value) || !NUMBER.test(text)) return this.#drop('malformed')
    this.samples++
    if (kind === 'c') series.value += value * weight
    else if (kind === 'h') record(series.histogram as HistogramSeries, value * unit, weight)
    else series.value = text.charCodeAt(0) === 43 || text.charCodeAt(0) === 45 ? series.value + value : value
  }

  #drop(reason: Drop): void {
    this.dropped[reason]++
  }

  /** DogStatsD's events (`_e{…}`) and service checks (`_sc|…`). */
  #other(line: string): boolean {
    if (line.startsWith('_e{')) this.events++
    else if (line.startsWith('_sc|')) this.serviceChecks++
    else return false
    return true
  }

  #target(name: string, value: string, rest: string): Target | Drop {
    // A line that brings nothing begins no series.
    if (!rest.startsWith('|s') && !value.split(':').some((one) => NUMBER.test(one))) return 'malformed'
    const target = this.#resolve(name, rest)
    // Kept also when it is dropped, but for the lack of room; lines with a time differ each time.
    if (target === 'series' || rest.includes('|T')) return target
    if (this.#kept >= KEPT) this.forget()
    const byRest = this.#targets.get(name)
    if (byRest) byRest.set(rest, target)
    else this.#targets.set(name, new Map([[rest, target]]))
    this.#kept++
    return target
  }

  #resolve(given: string, rest: string): Target | Drop {
    const [, word = '', ...extras] = rest.split('|', 16)
    const type = Object.hasOwn(TYPES, word) ? TYPES[word] : undefined
    if (!type) return 'malformed'
    let rate = 1
    let labels: Record<string, string> = {}
    for (const extra of extras) {
      if (extra.startsWith('@')) {
        rate = Number(extra.slice(1))
        if (!(rate > 0 && rate <= 1)) return 'malformed'
      } else if (extra.startsWith('#')) labels = tagLabels(extra.slice(1))
    }
    const mark = /[,;]/.exec(given)
    const name = mark ? given.slice(0, mark.index) : given
    if (name === '') return 'malformed'
    if (mark) labels = { ...tagLabels(given.slice(mark.index + 1), mark[0] === ',' ? /,/ : /;/, '='), ...labels }
    const mapped = this.#map(name)
    if (!mapped) return 'mapping'
    const [kind, seriesType, unit] = type
    const series = this.#table.find(mapped.name, seriesType, { ...labels, ...mapped.labels }, mapped.buckets ?? this.#buckets)
    if (series === 'full') return 'series'
    if (series === 'conflict') return 'conflict'
    return { kind, series, weight: 1 / rate, unit }
  }
}

/** A value that was sampled stands for several. */
function record(histogram: HistogramSeries, value: number, weight: number): void {
  if (weight === 1) return histogram.record(value)
  let at = 0
  while (at < histogram.bounds.length && value > (histogram.bounds[at] as number)) at++
  histogram.counts[at] = (histogram.counts[at] as number) + weight
  histogram.sum += value * weight
}
