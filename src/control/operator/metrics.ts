import { Gauge } from '../../telemetry/labelled.ts'

/** What the operator shows of itself. */
export function operatorMetrics() {
  const streams = new Gauge('outrider_operator_streams', 'Streams of changes that sidecars have open.', [])
  let count = () => 0
  return {
    /** Who knows how many streams are open. */
    follow(counted: () => number) {
      count = counted
    },
    text() {
      streams.set(count())
      return streams.text()
    },
  }
}

export type OperatorMetrics = ReturnType<typeof operatorMetrics>
