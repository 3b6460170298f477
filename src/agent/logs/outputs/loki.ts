// biome-ignore-all lint/suspicious/noTemplateCurlyInString: such names are filled in for each event.
import type { RoleContext } from '../../role.ts'
import { ByteText } from '../byte-text.ts'
import type { LogEvent } from '../event.ts'
import type { LokiSpec } from '../spec.ts'
import { Template } from '../template.ts'
import { NONE, type Sink } from './sink.ts'
import { Web } from './web.ts'

/** Label sets that are known, past which what has labels of fields goes to one stream. */
const STREAMS = 1000

/** Loki's push API, as JSON: events of one set of labels are a stream, in the order of their times. */
export async function openLoki(spec: LokiSpec, where: string, context: RoleContext): Promise<Sink> {
  const url = new URL(spec.url)
  if (url.pathname === '/') url.pathname = '/loki/api/v1/push'
  const web = await Web.open([url.href], spec, where, context, spec.tenant === undefined ? {} : { 'x-scope-orgid': spec.tenant })
  const given = spec.labels ?? { job: context.appId, tag: '${tag}' }
  const labels = Object.entries(given).map(([name, text]) => {
    if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) throw new Error(`${where}.labels: ${name} is no name of a label`)
    return [name, new Template(text, context.env), text.includes('${field.')] as const
  })
  const most = spec.maxStreams ?? STREAMS
  const text = new ByteText()
  const known = new Set<string>()
  const overflow = (event: LogEvent) =>
    JSON.stringify({
      ...Object.fromEntries(labels.filter(([, , ofField]) => !ofField).map(([name, template]) => [name, template.text(event)])),
      overflow: 'true',
    })
  const streamOf = (event: LogEvent) => {
    const stream = JSON.stringify(Object.fromEntries(labels.map(([name, template]) => [name, template.text(event)])))
    if (known.has(stream)) return stream
    if (known.size >= most) return overflow(event)
    known.add(stream)
    return stream
  }
  const lineOf = ({ record, json }: LogEvent) => (spec.line === 'message' && typeof record.message === 'string' ? record.message : json)
  return {
    async send(events, signal) {
      const streams = new Map<string, [number, string][]>()
      for (const event of events) {
        const stream = streamOf(event)
        const value: [number, string] = [event.time, `["${nanoseconds(event.time)}",${JSON.stringify(lineOf(event))}]`]
        const values = streams.get(stream)
        if (values) values.push(value)
        else streams.set(stream, [value])
      }
      for (const [index, [stream, values]] of [...streams].entries()) {
        values.sort(([one], [other]) => one - other)
        text.add(`${index === 0 ? '{"streams":[' : ','}{"stream":${stream},"values":[`)
        for (const [at, [, value]] of values.entries()) text.add(at === 0 ? value : `,${value}`)
        text.add(']}')
      }
      await web.send({ method: 'POST', contentType: 'application/json', body: text.add(']}').take(), signal })
      return NONE
    },
    [Symbol.asyncDispose]: () => web[Symbol.asyncDispose](),
  }
}

/** Of milliseconds with fractions, exact to a microsecond. */
export function nanoseconds(milliseconds: number): bigint {
  return BigInt(Math.round(milliseconds * 1000)) * 1000n
}
