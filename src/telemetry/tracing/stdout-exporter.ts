import type { Logger } from '../log.ts'
import type { SpanExporter } from './tracer.ts'

/** Each span as a log line. */
export function stdoutExporter(log: Logger): SpanExporter {
  const time = (milliseconds: number) => new Date(milliseconds).toISOString()
  return {
    async export(spans) {
      for (const { name, context, parent, began, ended, notes } of spans)
        log.info(
          `[${name}] Trace: ${context.traceId} Span: ${parent?.spanId ?? '0000000000000000'}/${context.spanId} Time: [${time(began)} ->  ${time(ended)}] Annotations: [${notes?.map((note) => note.name).join(' ') ?? ''}]`,
        )
    },
    async close() {},
  }
}
