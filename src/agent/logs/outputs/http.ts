import type { RoleContext } from '../../role.ts'
import type { HttpOutputSpec } from '../spec.ts'
import { lineOf } from './file.ts'
import { NONE, type Sink } from './sink.ts'
import { Web } from './web.ts'

/** Posts events as an array or as lines of JSON; each with its `time` and `tag`. */
export async function openHttp(spec: HttpOutputSpec, where: string, context: RoleContext): Promise<Sink> {
  const web = await Web.open([spec.url], spec, where, context)
  const { method = 'POST', format = 'ndjson' } = spec
  return {
    async send(events, signal) {
      const lines = events.map((event) => lineOf(event, 'json'))
      const body = format === 'json' ? `[${lines.map((line) => line.slice(0, -1)).join(',')}]` : lines.join('')
      await web.send({ method, contentType: format === 'json' ? 'application/json' : 'application/x-ndjson', body, signal })
      return NONE
    },
    [Symbol.asyncDispose]: () => web[Symbol.asyncDispose](),
  }
}
