import { milliseconds } from '../../resources/agent-schema.ts'
import type { MetricsAdapterSpec } from '../../resources/metrics-adapter-schema.ts'
import type { OpenRole } from '../role.ts'
import { type Intake, type Listener, listenTcp, listenUdp, listenUnix, listenUnixStream } from './listeners.ts'
import { nameMapper } from './names.ts'
import { Outputs } from './outputs.ts'
import { metricsRoute } from './page.ts'
import { RequestCounts } from './requests.ts'
import { SeriesTable } from './series.ts'
import { DROPS, StatsdReader } from './statsd.ts'

/** Turns in which series are looked at within `expireAfter`. */
const TURNS = 4

/** StatsD in; the page of all metrics out, and what else the resource asks for. */
export const openMetricsAdapter: OpenRole = async (resource, context) => {
  const spec = resource.spec as MetricsAdapterSpec
  const table = new SeriesTable(spec.maxSeries ?? 10_000)
  const reader = new StatsdReader(table, nameMapper(spec.mappings ?? []), spec.buckets)
  const intake: Intake = {
    packets: 0,
    bytes: 0,
    refused: 0,
    take(data) {
      this.packets++
      this.bytes += data.length
      reader.read(data.toString())
    },
  }
  await using opening = new AsyncDisposableStack()
  const listeners: Listener[] = []
  const { udp, tcp, unix, unixStream } = spec.statsd ?? {}
  const open = async (listener: Promise<Listener>) => void listeners.push(opening.use(await listener))
  if (udp !== undefined) await open(listenUdp(udp, intake))
  if (tcp !== undefined) await open(listenTcp(tcp, intake))
  if (unix !== undefined) await open(listenUnix(unix, intake))
  if (unixStream !== undefined) await open(listenUnixStream(unixStream, intake))
  if (listeners.length > 0) context.log.info(`StatsD is taken at ${listeners.map(({ kind, at }) => `${kind} ${at}`).join(', ')}`)
  // With a page of its own it shows what it took, not what the whole process serves.
  const apart = spec.prefix !== undefined
  const requests = apart ? undefined : opening.use(new RequestCounts())
  if (spec.expireAfter !== undefined) {
    const turn = setInterval(
      () => {
        if (table.sweep(TURNS) > 0) reader.forget()
      },
      Math.max(1, milliseconds(spec.expireAfter, '') / TURNS),
    ).unref()
    opening.defer(() => clearInterval(turn))
  }
  const outputs = opening.use(new Outputs(spec, context, () => table.families()))
  const running = opening.move()

  const counts = () => ({
    packets: intake.packets,
    samples: reader.samples,
    series: table.size,
    dropped: DROPS.reduce((sum, reason) => sum + reader.dropped[reason], 0) + intake.refused,
    lost: listeners.reduce((sum, { lost }) => sum + (lost?.() ?? 0), 0),
  })
  const page = () => {
    const { packets, samples, series, lost } = counts()
    const rows: [name: string, type: string, help: string, samples: Record<string, number>][] = [
      ['packets_total', 'counter', 'Packets, and parts of streams, that came in.', { '': packets }],
      ['bytes_total', 'counter', 'Bytes that came in.', { '': intake.bytes }],
      ['samples_total', 'counter', 'Values that were counted.', { '': samples }],
      ['events_total', 'counter', 'Events of DogStatsD that were passed over.', { '': reader.events }],
      ['service_checks_total', 'counter', 'Service checks of DogStatsD that were passed over.', { '': reader.serviceChecks }],
      [
        'dropped_total',
        'counter',
        'Lines that were not counted, by reason: kernel are packets for which the system had no room.',
        Object.fromEntries([
          ...DROPS.map((reason) => [`{reason="${reason}"}`, reader.dropped[reason]]),
          ['{reason="refused"}', intake.refused],
          ['{reason="kernel"}', lost],
        ]),
      ],
      ['series', 'gauge', 'Series that are kept.', { '': series }],
      ['scrapes_total', 'counter', "Times the app's page was read.", { '': outputs.status.scrapes ?? 0 }],
      ['scrapes_failed_total', 'counter', "Times the app's page could not be read.", { '': outputs.status.failedScrapes ?? 0 }],
      ['exports_total', 'counter', 'Requests to the OTLP receiver that it took.', { '': outputs.status.exports ?? 0 }],
      ['exports_failed_total', 'counter', 'Requests to the OTLP receiver that failed.', { '': outputs.status.failedExports ?? 0 }],
    ]
    const own = rows.map(
      ([name, type, help, values]) =>
        `# HELP outrider_metrics_${name} ${help}\n# TYPE outrider_metrics_${name} ${type}\n${Object.entries(values)
          .map(([labels, value]) => `outrider_metrics_${name}${labels} ${value}\n`)
          .join('')}`,
    )
    return table.text() + (requests?.text() ?? '') + own.join('')
  }
  return {
    routes: [metricsRoute(apart ? page : context.page, spec.prefix)],
    metrics: () => (apart ? '' : page()),
    status: () => ({ listens: Object.fromEntries(listeners.map(({ kind, at }) => [kind, at])), ...counts(), outputs: outputs.status }),
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  }
}
