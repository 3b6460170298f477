import type { HistogramPoint, MetricFamily, NumberPoint } from './families.ts'

export interface ReadPage {
  families: MetricFamily[]
  /** Lines that could not be read. */
  malformed: number
  /** Samples beyond the bound. */
  left: number
}

interface Sample {
  name: string
  labels: Record<string, string>
  value: number
}

interface Growing {
  name: string
  help: string
  type: string
  samples: Sample[]
}

/**
 * Reads a page in Prometheus's text format 0.0.4, or in OpenMetrics, from a program that is not ours. Summaries become gauges (their
 * quantiles, label `quantile`) and counters (`_sum`, `_count`); what has no type is a gauge, unless its name ends with `_total`.
 * Timestamps and exemplars are passed over.
 */
export function readPage(page: string, most = 100_000): ReadPage {
  const families = new Map<string, Growing>()
  const help = new Map<string, string>()
  const result: ReadPage = { families: [], malformed: 0, left: 0 }
  let read = 0
  for (const raw of page.split('\n')) {
    const line = raw.trim()
    if (line === '') continue
    if (line.startsWith('#')) {
      const meta = /^#\s+(HELP|TYPE)\s+(\S+)\s*(.*)$/.exec(line)
      if (meta?.[1] === 'HELP') help.set(meta[2] as string, unescaped(meta[3] as string))
      else if (meta) {
        const [, , name, type] = meta as unknown as [string, string, string, string]
        if (!families.has(name)) families.set(name, { name, help: '', type: type.trim().toLowerCase(), samples: [] })
      }
      continue
    }
    const sample = readSample(line)
    if (!sample) result.malformed++
    else if (read >= most) result.left++
    else {
      read++
      familyOf(families, sample.name).samples.push(sample)
    }
  }
  for (const family of families.values()) {
    family.help = help.get(family.name) ?? ''
    result.families.push(...finished(family))
  }
  return result
}

function familyOf(families: Map<string, Growing>, name: string): Growing {
  const exact = families.get(name)
  if (exact) return exact
  const end = /_(bucket|sum|count|total|created|gcount|gsum|info)$/.exec(name)
  const base = end && families.get(name.slice(0, end.index))
  if (base) return base
  const made: Growing = { name, help: '', type: 'untyped', samples: [] }
  families.set(name, made)
  return made
}

function finished({ name, help, type, samples }: Growing): MetricFamily[] {
  // When something began is no figure.
  const points = samples.filter((sample) => !(sample.name === `${name}_created` && type !== 'gauge' && type !== 'untyped'))
  if (points.length === 0) return []
  switch (type) {
    case 'histogram':
      return histogram(name, help, points)
    case 'summary': {
      const of = (wanted: string) => points.filter((sample) => sample.name === wanted)
      return [
        ...numbers(name, help, 'gauge', of(name)),
        ...numbers(`${name}_sum`, help, 'counter', of(`${name}_sum`)),
        ...numbers(`${name}_count`, help, 'counter', of(`${name}_count`)),
      ]
    }
    case 'counter':
      // OpenMetrics leaves `_total` out of the family's name.
      return numbers((points[0] as Sample).name, help, 'counter', points)
    case 'gauge':
      return numbers(name, help, 'gauge', points)
    default:
      return numbers((points[0] as Sample).name, help, name.endsWith('_total') ? 'counter' : 'gauge', points)
  }
}

function numbers(name: string, help: string, type: 'counter' | 'gauge', samples: readonly Sample[]): MetricFamily[] {
  const points = samples
    .filter(({ value }) => !Number.isNaN(value))
    .map(({ labels, value }): NumberPoint => ({ attributes: labels, value }))
  return points.length > 0 ? [{ name, help, type, points }] : []
}

function histogram(name: string, help: string, samples: readonly Sample[]): MetricFamily[] {
  const points = new Map<string, { attributes: Record<string, string>; buckets: [number, number][]; sum: number; count: number }>()
  for (const { name: given, labels, value } of samples) {
    const { le, ...attributes } = labels
    const key = JSON.stringify(Object.entries(attributes).sort(([a], [b]) => (a < b ? -1 : 1)))
    const point = points.get(key) ?? { attributes, buckets: [], sum: 0, count: 0 }
    points.set(key, point)
    if (given === `${name}_bucket` && le !== undefined) point.buckets.push([numberOf(le) ?? Number.NaN, value])
    else if (given === `${name}_sum`) point.sum = value
    else if (given === `${name}_count`) point.count = value
  }
  const read: HistogramPoint[] = []
  for (const { attributes, buckets, sum, count } of points.values()) {
    buckets.sort(([a], [b]) => a - b)
    const finite = buckets.filter(([bound, below]) => Number.isFinite(bound) && Number.isFinite(below))
    let before = 0
    const counts = [...finite.map(([, below]) => below), count].map((below) => {
      const own = Math.max(0, below - before)
      before = Math.max(before, below)
      return own
    })
    if (counts.every(Number.isFinite)) read.push({ attributes, bounds: finite.map(([bound]) => bound), counts, sum, count: before })
  }
  return read.length > 0 ? [{ name, help, type: 'histogram', points: read }] : []
}

const NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*/
const LABEL = /\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*"((?:[^"\\]|\\.)*)"\s*(,?)/y

function readSample(line: string): Sample | undefined {
  const name = NAME.exec(line)?.[0]
  if (!name) return undefined
  const labels: Record<string, string> = {}
  let at = name.length
  while (line[at] === ' ' || line[at] === '\t') at++
  if (line[at] === '{') {
    at++
    for (let more = true; ; ) {
      while (line[at] === ' ') at++
      if (line[at] === '}') break
      LABEL.lastIndex = at
      const found: RegExpExecArray | null = more ? LABEL.exec(line) : null
      if (!found) return undefined
      labels[found[1] as string] = unescaped(found[2] as string)
      at = LABEL.lastIndex
      more = found[3] === ','
    }
    at++
  } else if (at === name.length) return undefined
  const value = numberOf(line.slice(at).trim().split(/\s+/, 1)[0] ?? '')
  return value === undefined ? undefined : { name, labels, value }
}

/** As Go reads numbers here; undefined: it is none. */
function numberOf(text: string): number | undefined {
  if (/^[+-]?\d*\.?\d+([eE][+-]?\d+)?$|^[+-]?\d+\.$/.test(text)) return Number(text)
  const word = text.toLowerCase()
  if (word === 'nan') return Number.NaN
  if (/^\+?inf(inity)?$/.test(word)) return Number.POSITIVE_INFINITY
  return /^-inf(inity)?$/.test(word) ? Number.NEGATIVE_INFINITY : undefined
}

function unescaped(text: string): string {
  return text.includes('\\') ? text.replaceAll(/\\(.)/g, (_, one: string) => (one === 'n' ? '\n' : one)) : text
}
