import { messageOf } from '../../errors.ts'
import type { Logger } from '../log.ts'
import type { Span } from './span.ts'
import type { SpanExporter } from './tracer.ts'

/** OpenTelemetry's own figures for batches. */
const MAX_QUEUE = 2048
const MAX_BATCH = 512
const PAUSE = 5000

/** Gathers spans and hands them to the exporters, in batches; beyond its queue spans are dropped, counted and told. */
export class SpanBatches {
  readonly #exporters: readonly SpanExporter[]
  readonly #log: Logger
  #queue: Span[] = []
  #timer: NodeJS.Timeout | undefined
  #sending: Promise<void> | undefined
  #dropped = 0

  constructor(exporters: readonly SpanExporter[], log: Logger) {
    this.#exporters = exporters
    this.#log = log
  }

  readonly add = (span: Span): void => {
    if (this.#queue.length >= MAX_QUEUE) {
      this.#dropped++
      return
    }
    this.#queue.push(span)
    if (this.#queue.length >= MAX_BATCH) void this.#flush()
    else this.#timer ??= setTimeout(() => void this.#flush(), PAUSE).unref()
  }

  /** Sends what is left, then ends the exporters. */
  async close(): Promise<void> {
    await this.#sending
    await this.#flush()
    await Promise.allSettled(this.#exporters.map((exporter) => exporter.close()))
  }

  #flush(): Promise<void> {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#sending ??= this.#send().finally(() => {
      this.#sending = undefined
    })
    return this.#sending
  }

  async #send(): Promise<void> {
    while (this.#queue.length > 0) {
      const batch = this.#queue.slice(0, MAX_BATCH)
      this.#queue = this.#queue.slice(MAX_BATCH)
      for (const result of await Promise.allSettled(this.#exporters.map((exporter) => exporter.export(batch)))) {
        if (result.status === 'rejected') this.#log.warn(`${batch.length} spans could not be exported: ${messageOf(result.reason)}`)
      }
    }
    if (this.#dropped > 0) {
      this.#log.warn(`${this.#dropped} spans were dropped: more than ${MAX_QUEUE} waited for the exporter`)
      this.#dropped = 0
    }
  }
}
