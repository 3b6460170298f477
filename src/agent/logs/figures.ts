export type Counted = 'received' | 'filtered' | 'unparsed' | 'dropped'

type Row = readonly [labels: Readonly<Record<string, string>>, value: number]

const HELP: Readonly<Record<Counted, string>> = {
  received: 'Events that came from a source.',
  filtered: 'Events that a filter has left out.',
  unparsed: 'Events that were not of the format they were to be read by, and are kept as text.',
  dropped: 'Events that could not be kept and that nobody could be asked to send again.',
}

/** What the outputs tell. */
interface OutputFigures {
  readonly name: string
  readonly delivered: number
  readonly retries: number
  readonly duplicates: number
  readonly broken: number
  readonly failing: string | undefined
}

/** What one pipeline counts. Its label sets are its sources and outputs. */
export class Counts {
  readonly #counts: Readonly<Record<Counted, Map<string, number>>> = {
    received: new Map(),
    filtered: new Map(),
    unparsed: new Map(),
    dropped: new Map(),
  }

  add(what: Counted, source: string, count: number): void {
    if (count === 0) return
    const counts = this.#counts[what]
    counts.set(source, (counts.get(source) ?? 0) + count)
  }

  /** In Prometheus's text format. */
  text(pipeline: string, now: { deliveries: readonly OutputFigures[]; bufferBytes: number; deadLetters: number }): string {
    let out = ''
    for (const [what, counts] of Object.entries(this.#counts))
      out += family(
        `${what}_total`,
        'counter',
        HELP[what as Counted],
        [...counts].map(([source, value]) => [{ pipeline, source }, value]),
      )
    const outputs = (name: string, type: 'counter' | 'gauge', help: string, value: (output: OutputFigures) => number) => {
      out += family(
        name,
        type,
        help,
        now.deliveries.map((output) => [{ pipeline, output: output.name }, value(output)]),
      )
    }
    outputs('delivered_total', 'counter', 'Events that an output has taken or refused for good.', ({ delivered }) => delivered)
    outputs('retries_total', 'counter', 'Batches that were to be sent again.', ({ retries }) => retries)
    outputs('duplicates_total', 'counter', 'Events that the other side had already, found by their id.', ({ duplicates }) => duplicates)
    outputs('output_failing', 'gauge', 'Whether the last try failed.', ({ failing }) => (failing === undefined ? 0 : 1))
    outputs('damaged_total', 'counter', 'Places of the buffer that could not be read.', ({ broken }) => broken)
    out += family('dead_letters_total', 'counter', 'Events that went to the dead letters.', [[{ pipeline }, now.deadLetters]])
    return out + family('buffer_bytes', 'gauge', 'Bytes of the buffer.', [[{ pipeline }, now.bufferBytes]])
  }
}

/** One family; nothing when it has no row. */
function family(name: string, type: 'counter' | 'gauge', help: string, rows: readonly Row[]): string {
  if (rows.length === 0) return ''
  let out = `# HELP outrider_logs_${name} ${help}\n# TYPE outrider_logs_${name} ${type}\n`
  for (const [labels, value] of rows) {
    const pairs = Object.entries(labels).map(
      ([key, text]) => `${key}="${text.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')}"`,
    )
    out += `outrider_logs_${name}{${pairs.join(',')}} ${value}\n`
  }
  return out
}
