import type { RoleContext } from '../../role.ts'
import type { OutputSpec } from '../spec.ts'
import { bytesOf } from '../values.ts'
import { dropSink, fileSink, stdoutSink } from './file.ts'
import type { Sink } from './sink.ts'

/** The kind of an output: the member of its spec that says where events go. */
export function kindOfOutput(spec: OutputSpec): string {
  const { name: _, match: __, except: ___, batch: ____, retry: _____, ...kinds } = spec
  return Object.keys(kinds)[0] ?? 'drop'
}

/** Opens an output; what only some use is loaded then. Rejects for what makes no sense; does not connect yet. `id` names the buffer. */
export async function openSink(spec: OutputSpec, where: string, context: RoleContext, id: string): Promise<Sink> {
  if (spec.stdout) return stdoutSink(spec.stdout.format ?? 'json')
  if (spec.file) {
    const { path, format = 'json', maxBytes, keep = 5 } = spec.file
    return fileSink({ path, format, maxBytes: bytesOf(maxBytes, 0), keep })
  }
  if (spec.http) return (await import('./http.ts')).openHttp(spec.http, where, context)
  if (spec.elasticsearch) return (await import('./elasticsearch.ts')).openElasticsearch(spec.elasticsearch, where, context, id)
  if (spec.loki) return (await import('./loki.ts')).openLoki(spec.loki, where, context)
  if (spec.otlp) return (await import('./otlp.ts')).openOtlp(spec.otlp, where, context)
  if (spec.forward) return (await import('./forward.ts')).openForward(spec.forward, where, context)
  if (spec.syslog) return (await import('./syslog.ts')).openSyslog(spec.syslog)
  if (spec.pubsub) return (await import('./pubsub.ts')).openPubSub(spec.pubsub, context, id)
  return dropSink()
}
