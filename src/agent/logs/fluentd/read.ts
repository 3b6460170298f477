import type { Logger } from '../../../telemetry/log.ts'
import type { FilterSpec, OutputSpec, SourceSpec } from '../spec.ts'
export interface FromFluentd {
  sources: SourceSpec[]
  filters: FilterSpec[]
  outputs: OutputSpec[]
}
export async function readFluentd(
  _given: { file?: string; config?: string; lenient?: boolean },
  _context: { folder: string; resource: string; env: NodeJS.ProcessEnv; log: Logger },
): Promise<FromFluentd> {
  throw new Error('not yet')
}
