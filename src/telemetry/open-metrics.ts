import { sliced } from './sliced.ts'

export const PROMETHEUS_TEXT = 'text/plain; version=0.0.4; charset=utf-8'
export const OPEN_METRICS = 'application/openmetrics-text; version=1.0.0; charset=utf-8'

/** The page in the format that a scraper prefers: OpenMetrics when it is named in `accept`. No request waits for all of it. */
export function metricsPage(parts: Iterable<string>, accept: string | undefined): { contentType: string; body: AsyncIterable<string> } {
  if (!accept?.includes('application/openmetrics-text')) return { contentType: PROMETHEUS_TEXT, body: sliced(parts) }
  return { contentType: OPEN_METRICS, body: sliced(openMetrics(parts)) }
}

/** OpenMetrics wants `_total` at the end of every counter's samples, not of its family; Dapr's names are older than that. */
function* openMetrics(parts: Iterable<string>): Generator<string> {
  for (const part of parts)
    yield part.replaceAll(/^# HELP (\S+) (.*)\n# TYPE \1 counter\n/gm, (_, name: string, help: string) =>
      name.endsWith('_total')
        ? `# HELP ${name.slice(0, -6)} ${help}\n# TYPE ${name.slice(0, -6)} counter\n`
        : `# HELP ${name} ${help}\n# TYPE ${name} unknown\n`,
    )
  yield '# EOF\n'
}
