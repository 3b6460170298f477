import { performance } from 'node:perf_hooks'
import { pipeline } from 'node:stream/promises'
import { metricsPage } from '../../telemetry/open-metrics.ts'
import { answer } from '../port.ts'
import type { AgentRoute } from '../role.ts'
import { readPage } from './prometheus-text.ts'

/** `GET /metrics`, below a prefix: Prometheus's text for who asks for text, JSON for who asks for JSON or does not say. */
export function metricsRoute(page: () => string, prefix = ''): AgentRoute {
  let last = { at: performance.now(), cpu: process.cpuUsage() }
  return {
    methods: ['GET'],
    path: `${prefix}/metrics`,
    async handle({ request, response, query }) {
      const accept = query.get('format') ?? request.headers.accept ?? ''
      if (/text|openmetrics|prometheus/.test(accept)) {
        const { contentType, body } = metricsPage([page()], request.headers.accept)
        // A scraper that goes away half-way needs no answer.
        return pipeline(body, response.writeHead(200, { 'content-type': contentType })).catch(() => {})
      }
      const now = performance.now()
      const used = process.cpuUsage(last.cpu)
      const cpu = now > last.at ? (used.user + used.system) / 10 / (now - last.at) : 0
      // Asked twice at once: the first figure is still the better one.
      if (now - last.at > 100) last = { at: now, cpu: process.cpuUsage() }
      answer(response, 200, { cpu: rounded(cpu), memory: process.memoryUsage.rss(), uptime: rounded(process.uptime()), ...figures(page()) })
    },
  }
}

const rounded = (value: number) => Math.round(value * 100) / 100

/** Values by `name{label="value"}`; timers by count and sum. */
function figures(page: string): Record<'counters' | 'gauges' | 'timers', Record<string, unknown>> {
  const figures = { counters: {} as Record<string, unknown>, gauges: {} as Record<string, unknown>, timers: {} as Record<string, unknown> }
  for (const family of readPage(page).families) {
    for (const point of family.points) {
      const labels = Object.entries(point.attributes).map(([label, value]) => `${label}=${JSON.stringify(value)}`)
      const key = labels.length > 0 ? `${family.name}{${labels.join(',')}}` : family.name
      if ('bounds' in point) figures.timers[key] = { count: point.count, sum: point.sum }
      else figures[family.type === 'counter' ? 'counters' : 'gauges'][key] = point.value
    }
  }
  return figures
}
