import type { Around } from '../blocks/around.ts'
import type { ComponentKind, Direction } from '../policy/resiliency.ts'
import type { ComponentMetrics, MeteredKind } from '../telemetry/component-metrics.ts'
import type { LiveResiliency } from './live-resiliency.ts'

/** Hears of each call to a component, when it is over; milliseconds. */
export type Counting = (component: string, operation: string, success: boolean, elapsed: number) => void

/** Tells the metrics of a kind of component. */
export const counting =
  (metrics: ComponentMetrics, kind: MeteredKind): Counting =>
  (component, operation, success, elapsed) =>
    metrics.operation(kind, component, operation, success, elapsed)

/** The policy that a component's name has at the moment of a call, around that call; all its attempts count as one. */
export function policed(resiliency: LiveResiliency, kind: ComponentKind, direction: Direction, over?: Counting): Around {
  return (component, operation, work, signal) => {
    const runner = resiliency.component(component, kind, direction)
    const run = () => (runner ? runner(work, signal) : work(signal))
    return over ? counted(over, component, operation, run) : run()
  }
}

/** The outcome and the time of some work, told to who counts. */
export function counted<T>(over: Counting, component: string, operation: string, run: () => Promise<T>): Promise<T> {
  const began = performance.now()
  return run().then(
    (result) => {
      over(component, operation, true, performance.now() - began)
      return result
    },
    (error: unknown) => {
      over(component, operation, false, performance.now() - began)
      throw error
    },
  )
}
