import { Counter, Gauge } from './labelled.ts'

/** What waits at this moment, by pub/sub. */
export type Waiting = readonly (readonly [pubsub: string, waiting: { events: number; bytes: number }])[]

const counter = (what: string, help: string) => new Counter(`outrider_store_and_forward_${what}_total`, help, ['app_id', 'component'])

/** What store-and-forward publishing counts. */
export class ForwardMetrics {
  readonly #accepted = counter('accepted', 'Events accepted while their broker could not be reached.')
  readonly #forwarded = counter('forwarded', 'Accepted events that the broker took later.')
  readonly #expired = counter('expired', 'Accepted events that were given up for their age.')
  readonly #refused = counter('refused', 'Events refused because those that wait left no room.')
  readonly #waiting = new Gauge('outrider_store_and_forward_waiting', 'Accepted events that wait for their broker.', [
    'app_id',
    'component',
  ])
  readonly #bytes = new Gauge('outrider_store_and_forward_waiting_bytes', 'Bytes of the events that wait.', ['app_id', 'component'])
  #look: (() => void) | undefined

  /** What one sidecar's pub/subs tell. */
  of(appId: string) {
    const count = (counter: Counter) => (pubsub: string, count: number) => {
      counter.series(appId, pubsub).value += count
    }
    const [accepted, forwarded, expired, refused] = [this.#accepted, this.#forwarded, this.#expired, this.#refused].map(count)
    return {
      accepted: (pubsub: string) => accepted?.(pubsub, 1),
      forwarded: (pubsub: string) => forwarded?.(pubsub, 1),
      expired: (pubsub: string, count: number) => expired?.(pubsub, count),
      refused: (pubsub: string) => refused?.(pubsub, 1),
    }
  }

  /** Asked for each page. */
  watch(appId: string, waiting: () => Waiting): void {
    this.#look = () => {
      for (const [pubsub, { events, bytes }] of waiting()) {
        this.#waiting.set(events, appId, pubsub)
        this.#bytes.set(bytes, appId, pubsub)
      }
    }
  }

  *parts(): Generator<string> {
    this.#look?.()
    for (const metric of [this.#accepted, this.#expired, this.#forwarded, this.#refused, this.#waiting, this.#bytes]) yield* metric.parts()
  }
}
