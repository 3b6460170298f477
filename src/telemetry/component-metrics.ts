import type { LabelRules } from './label-rules.ts'
import { Counter, Histogram, type HistogramSeries, type NumberSeries } from './labelled.ts'

const OPERATION = ['app_id', 'component', 'namespace', 'operation', 'success']
const PLAIN = ['app_id', 'component', 'namespace', 'success']
const EGRESS = ['app_id', 'component', 'namespace', 'success', 'topic']
const INGRESS = ['app_id', 'component', 'namespace', 'process_status', 'status', 'topic']
const BULK_INGRESS = ['app_id', 'component', 'namespace', 'process_status', 'topic']

/** What became of a message that a broker delivered. */
export type ProcessStatus = 'success' | 'retry' | 'drop'

/** Kinds of components whose operations are counted by name. */
export type MeteredKind = 'state' | 'secret' | 'configuration' | 'crypto' | 'output_binding'

interface Pair {
  count: Counter
  latencies: Histogram
}

export interface ComponentMetricsOptions {
  appId: string
  /** NAMESPACE as it is. */
  namespace: string
  /** Upper bounds in milliseconds. */
  latencies: readonly number[]
  rules: LabelRules | undefined
}

/** What the app asks of components, and what components bring to it. */
export class ComponentMetrics {
  readonly #appId: string
  readonly #namespace: string
  readonly #kinds: Readonly<Record<MeteredKind, Pair>>
  readonly #conversation: Pair
  readonly #inputBinding: Pair
  readonly #egress: Pair
  readonly #bulkEgress: Pair
  readonly #ingress: Pair
  readonly #bulkIngress: Pair
  readonly #bulkEvents: Counter
  /** Series at hand for each operation on each component; as many as there are of those. */
  readonly #operations = new Map<string, { count: NumberSeries; latency: HistogramSeries }>()

  constructor({ appId, namespace, latencies, rules }: ComponentMetricsOptions) {
    this.#appId = appId
    this.#namespace = namespace
    const pair = (name: string, labels: readonly string[], what: string): Pair => ({
      count: new Counter(`dapr_component_${name}_count`, `Number of ${what}.`, labels, rules),
      latencies: new Histogram(`dapr_component_${name}_latencies`, `Milliseconds of ${what}.`, labels, latencies, rules),
    })
    this.#kinds = {
      state: pair('state', OPERATION, 'operations on state stores'),
      secret: pair('secret', OPERATION, 'operations on secret stores'),
      configuration: pair('configuration', OPERATION, 'operations on configuration stores'),
      crypto: pair('crypto', OPERATION, 'operations of crypto components'),
      output_binding: pair('output_binding', OPERATION, 'operations of output bindings'),
    }
    this.#conversation = pair('conversation', PLAIN, 'operations of conversation components')
    this.#inputBinding = pair('input_binding', PLAIN, 'events of input bindings given to the app')
    this.#egress = pair('pubsub_egress', EGRESS, 'messages published')
    this.#bulkEgress = pair('pubsub_egress_bulk', EGRESS, 'bulk publish calls')
    this.#ingress = pair('pubsub_ingress', INGRESS, 'messages given to the app')
    this.#bulkIngress = pair('pubsub_ingress_bulk', BULK_INGRESS, 'batches of messages given to the app')
    this.#bulkEvents = new Counter(
      'dapr_component_pubsub_ingress_bulk_event_count',
      'Number of messages in batches given to the app.',
      BULK_INGRESS,
      rules,
    )
  }

  /** An operation of a state store, secret store, configuration store, crypto component or output binding is over; milliseconds. */
  operation(kind: MeteredKind, component: string, operation: string, success: boolean, elapsed: number): void {
    const key = `${kind} ${component} ${operation} ${success}`
    let series = this.#operations.get(key)
    if (!series) {
      const values = [this.#appId, component, this.#namespace, operation, String(success)]
      const { count, latencies } = this.#kinds[kind]
      series = { count: count.series(...values), latency: latencies.series(...values) }
      if (this.#operations.size < 1000) this.#operations.set(key, series)
    }
    series.count.value++
    series.latency.record(elapsed)
  }

  /** A conversation component has answered; milliseconds. */
  conversed(component: string, success: boolean, elapsed: number): void {
    add(this.#conversation, elapsed, this.#appId, component, this.#namespace, String(success))
  }

  /** The app has been given an event of an input binding; milliseconds. */
  bindingEvent(component: string, success: boolean, elapsed: number): void {
    add(this.#inputBinding, elapsed, this.#appId, component, this.#namespace, String(success))
  }

  /** A message was published, or not; milliseconds. */
  published(component: string, topic: string, success: boolean, elapsed: number): void {
    add(this.#egress, elapsed, this.#appId, component, this.#namespace, String(success), topic)
  }

  /** A bulk publish call is over; milliseconds. */
  bulkPublished(component: string, topic: string, success: boolean, elapsed: number): void {
    add(this.#bulkEgress, elapsed, this.#appId, component, this.#namespace, String(success), topic)
  }

  /** A message was given to the app; `elapsed` milliseconds, undefined when it never got there. */
  delivered(component: string, topic: string, processed: ProcessStatus, status: ProcessStatus, elapsed: number | undefined): void {
    add(this.#ingress, elapsed, this.#appId, component, this.#namespace, processed, status, topic)
  }

  /** A batch was given to the app; milliseconds, and how many of its messages came to which end. */
  bulkDelivered(component: string, topic: string, ends: Readonly<Record<ProcessStatus, number>>, elapsed: number): void {
    add(this.#bulkIngress, elapsed, this.#appId, component, this.#namespace, '', topic)
    for (const [end, events] of Object.entries(ends)) {
      if (events > 0) this.#bulkEvents.series(this.#appId, component, this.#namespace, end, topic).value += events
    }
  }

  *parts(): Generator<string> {
    const { configuration, crypto, output_binding, secret, state } = this.#kinds
    const pairs = [
      configuration,
      this.#conversation,
      crypto,
      this.#inputBinding,
      output_binding,
      this.#bulkEgress,
      this.#egress,
      this.#bulkIngress,
      this.#ingress,
      secret,
      state,
    ]
    for (const { count, latencies } of pairs) {
      yield* count.parts()
      yield* latencies.parts()
    }
    yield* this.#bulkEvents.parts()
  }
}

function add({ count, latencies }: Pair, elapsed: number | undefined, ...values: string[]): void {
  count.add(...values)
  if (elapsed !== undefined) latencies.series(...values).record(elapsed)
}
