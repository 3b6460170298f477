/** One point of a family: a counter or gauge. */
export interface NumberPoint {
  attributes: Readonly<Record<string, string>>
  value: number
}

/** One point of a histogram: a count for each bound, and one for what is above them all. */
export interface HistogramPoint {
  attributes: Readonly<Record<string, string>>
  bounds: readonly number[]
  counts: readonly number[]
  sum: number
  count: number
}

export type MetricFamily = { name: string; help: string } & (
  | { type: 'counter' | 'gauge'; points: readonly NumberPoint[] }
  | { type: 'histogram'; points: readonly HistogramPoint[] }
)

/**
 * Reads back the page of the metrics port (Prometheus' text format 0.0.4, without timestamps, as `Metrics.text` writes it):
 * everything that is counted is on it, whoever counts it. Families of other types are left out. `page`: in pieces of whole lines.
 */
export async function readFamilies(page: AsyncIterable<string> | Iterable<string>): Promise<MetricFamily[]> {
  const families: MetricFamily[] = []
  let name = ''
  let help = ''
  let numbers: NumberPoint[] | undefined
  let histograms: Map<string, Growing> | undefined
  const read = (line: string) => {
    if (line.startsWith('# HELP ')) {
      const space = line.indexOf(' ', 7)
      name = line.slice(7, space)
      help = line.slice(space + 1)
      numbers = histograms = undefined
    } else if (line.startsWith('# TYPE ')) {
      const type = line.slice(line.lastIndexOf(' ') + 1)
      if (type === 'histogram') {
        histograms = new Map()
        const points = histograms
        families.push({
          name,
          help,
          type,
          get points() {
            return [...points.values()].map(separate)
          },
        })
      } else if (type === 'counter' || type === 'gauge') {
        numbers = []
        families.push({ name, help, type, points: numbers })
      }
    } else if (line !== '' && (numbers || histograms)) {
      const sample = readSample(line)
      if (numbers) numbers.push({ attributes: readLabels(sample.labels), value: sample.value })
      else if (histograms) grow(histograms, sample, name)
    }
  }
  for await (const piece of page) for (const line of piece.split('\n')) read(line)
  return families
}

interface Sample {
  name: string
  labels: string
  value: number
}

/** A histogram's point while its lines are read; its counts hold those below, as the page has them. */
interface Growing extends HistogramPoint {
  bounds: number[]
  counts: number[]
}

function readSample(line: string): Sample {
  const space = line.lastIndexOf(' ')
  const brace = line.indexOf('{')
  const value = Number(line.slice(space + 1))
  if (brace < 0 || brace > space) return { name: line.slice(0, space), labels: '', value }
  return { name: line.slice(0, brace), labels: line.slice(brace + 1, line.lastIndexOf('}', space)), value }
}

const BOUND = /,?le="([^"]*)"$/

function grow(points: Map<string, Growing>, { name, labels, value }: Sample, family: string): void {
  const bound = name === `${family}_bucket` ? BOUND.exec(labels) : null
  const key = bound ? labels.slice(0, bound.index) : labels
  let point = points.get(key)
  if (!point) {
    point = { attributes: readLabels(key), bounds: [], counts: [], sum: 0, count: 0 }
    points.set(key, point)
  }
  if (bound) {
    if (bound[1] !== '+Inf') point.bounds.push(Number(bound[1]))
    point.counts.push(value)
  } else if (name === `${family}_sum`) point.sum = value
  else point.count = value
}

/** OTLP's counts are of each bucket alone. */
function separate({ counts, ...point }: Growing): HistogramPoint {
  return { ...point, counts: counts.map((count, index) => count - (counts[index - 1] ?? 0)) }
}

const LABEL = /([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"/g

function readLabels(text: string): Record<string, string> {
  const labels: Record<string, string> = {}
  for (const [, name, value] of text.matchAll(LABEL))
    labels[name as string] = (value as string).includes('\\')
      ? (value as string).replaceAll(/\\(.)/g, (_, escaped: string) => (escaped === 'n' ? '\n' : escaped))
      : (value as string)
  return labels
}
