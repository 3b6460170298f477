import { messageOf } from '../../errors.ts'
import { VERSION } from '../../version.ts'
import type { Logger } from '../log.ts'
import { sliced } from '../sliced.ts'
import { type Environment, resourceOf } from './environment.ts'
import { readFamilies } from './metric-families.ts'
import { encodeMetrics } from './metrics-message.ts'
import { metricsPushSettings } from './metrics-settings.ts'
import { otlpSender } from './sender.ts'

export interface PushOptions {
  appId: string
  /** The page of the metrics port. */
  page: () => Iterable<string>
  env: Environment
  log: Logger
}

const SIGNAL = { path: '/v1/metrics', method: '/opentelemetry.proto.collector.metrics.v1.MetricsService/Export' }

/**
 * Sends all metrics to the OpenTelemetry collector of the environment, every OTEL_METRIC_EXPORT_INTERVAL and once more when
 * disposed, unless the last export failed. Values are cumulative, so an export that failed is made good by the next; the first failure of a row is logged, and
 * that it is over. One export at a time: an interval in which one is still under way is passed over.
 */
export function pushMetrics({ appId, page, env, log }: PushOptions): AsyncDisposable {
  const settings = metricsPushSettings(env)
  const sender = otlpSender(settings, SIGNAL)
  const resource = resourceOf(appId, env)
  const since = Date.now()
  let failing = false
  let sending: Promise<void> | undefined
  const send = async () => {
    try {
      await sender.send(encodeMetrics({ families: await readFamilies(sliced(page())), resource, version: VERSION, since, now: Date.now() }))
      if (failing) log.info('metrics are exported again')
      failing = false
    } catch (error) {
      if (!failing) log.warn(`metrics could not be exported: ${messageOf(error)}; OTEL_METRICS_EXPORTER=none turns their export off`)
      failing = true
    }
  }
  const push = () => {
    sending ??= send().finally(() => {
      sending = undefined
    })
    return sending
  }
  const timer = setInterval(push, settings.interval).unref()
  log.info(
    `metrics are exported to ${settings.endpoint} by OTLP over ${settings.protocol === 'grpc' ? 'gRPC' : 'HTTP'} every ${settings.interval / 1000} s`,
  )
  return {
    async [Symbol.asyncDispose]() {
      clearInterval(timer)
      await sending
      // A collector that is away does not hold up the end.
      if (!failing) await push()
      await sender.close()
    },
  }
}
