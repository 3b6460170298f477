import type { RoleContext } from '../../role.ts'
import { ByteText } from '../byte-text.ts'
import type { HttpOutputSpec } from '../spec.ts'
import { lineOf } from './file.ts'
import { NONE, type Sink } from './sink.ts'
import { Web } from './web.ts'

/** Posts events as an array or as lines of JSON; each with its `time` and `tag`. */
export async function openHttp(spec: HttpOutputSpec, where: string, context: RoleContext): Promise<Sink> {
  const web = await Web.open([spec.url], spec, where, context)
  const text = new ByteText()
  const { method = 'POST', format = 'ndjson' } = spec
  return {
    async send(events, signal) {
      const list = format === 'json'
      if (list) text.add('[')
      for (const [index, event] of events.entries())
        text.add(list ? `${index > 0 ? ',' : ''}${lineOf(event, 'json').trimEnd()}` : lineOf(event, 'json'))
      if (list) text.add(']')
      await web.send({ method, contentType: list ? 'application/json' : 'application/x-ndjson', body: text.take(), signal })
      return NONE
    },
    [Symbol.asyncDispose]: () => web[Symbol.asyncDispose](),
  }
}
