import type { AgentRoute, RoleContext } from '../../role.ts'
import type { Intake, Source } from '../intake.ts'
import type { SourceSpec } from '../spec.ts'

export type SourceKind = 'tail' | 'http' | 'forward' | 'syslog'

export function kindOfSource(spec: SourceSpec): SourceKind {
  return spec.tail ? 'tail' : spec.http ? 'http' : spec.forward ? 'forward' : 'syslog'
}

export interface OpenedSource {
  source: Source
  routes: readonly AgentRoute[]
  /** Of a port of its own. */
  port?: number
}

/** Opens a source: it takes in from now on. Rejects when it cannot. */
export async function openSource(spec: SourceSpec, name: string, intake: Intake, context: RoleContext): Promise<OpenedSource> {
  const tag = spec.tag ?? name
  const where = `source ${name}`
  if (spec.tail) return { source: await (await import('./tail/tail.ts')).Tail.open(name, tag, spec.tail, intake), routes: [] }
  if (spec.http) {
    const source = new (await import('./http.ts')).HttpSource(tag, spec.http, intake)
    await source.listen()
    return { source, routes: source.routes(), ...(spec.http.port !== undefined && { port: source.port }) }
  }
  if (spec.forward) {
    const source = await (await import('./forward.ts')).ForwardSource.open(spec.forward, where, intake, context)
    return { source, routes: [], port: source.port }
  }
  const source = await (await import('./syslog.ts')).SyslogSource.open(spec.syslog ?? {}, tag, intake)
  return { source, routes: [], port: source.port }
}
