import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import { test } from 'node:test'
import { createLogger } from '../log.ts'
import { baggageProblem } from './baggage.ts'
import { openTracing, type TracingOptions } from './open.ts'
import type { Span } from './span.ts'
import { formatTraceparent, isSampled, parseTraceparent } from './span-context.ts'
import { samplingRate, Tracer } from './tracer.ts'

const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736'
const PARENT = `00-${TRACE}-00f067aa0ba902b7-01`
const lines: string[] = []
const log = createLogger({ level: 'debug', json: false, appId: 'a', version: '0', write: (line) => lines.push(line) })
const base: TracingOptions = { appId: 'shop', samplingRate: '1', stdout: false, env: {}, log }

test('a traceparent is read as W3C says: later versions too, nothing of zeros, nothing broken', () => {
  assert.equal(formatTraceparent(parseTraceparent(PARENT) as never), PARENT)
  assert.equal(parseTraceparent(`01-${TRACE}-00f067aa0ba902b7-00-more`)?.flags, 0)
  for (const bad of [
    undefined,
    '',
    'x',
    `${PARENT}-more`,
    `ff-${TRACE}-00f067aa0ba902b7-01`,
    `00-${'0'.repeat(32)}-00f067aa0ba902b7-01`,
    `00-${TRACE}-${'0'.repeat(16)}-01`,
    `00-${TRACE.toUpperCase()}-00f067aa0ba902b7-01`,
  ])
    assert.equal(parseTraceparent(bad), undefined, String(bad))
  assert.equal(parseTraceparent(PARENT, 's'.repeat(513))?.state, '')
})

test('below a parent a span keeps its trace and its decision; alone the share of the rate is sampled', () => {
  const never = new Tracer(0, () => {})
  const child = never.start('s', 'server', parseTraceparent(PARENT, 'k=v'))
  assert.equal(child.context.traceId, TRACE)
  assert.notEqual(child.context.spanId, '00f067aa0ba902b7')
  assert.equal(child.sampled, true)
  assert.equal(child.tracestate, 'k=v')
  assert.equal(new Tracer(1, () => {}).start('s', 'server', parseTraceparent(`00-${TRACE}-00f067aa0ba902b7-00`)).sampled, false)
  const half = new Tracer(0.5, () => {})
  const sampled = Array.from({ length: 2000 }, () => half.start('s', 'client', undefined)).filter(({ context }) =>
    isSampled(context),
  ).length
  assert.ok(sampled > 850 && sampled < 1150, String(sampled))
  assert.equal(never.start('s', 'client', undefined).sampled, false)
  assert.equal(samplingRate(''), 1e-4)
  assert.equal(samplingRate('many'), 1e-4)
  assert.equal(samplingRate('0'), 0)
})

test('a span is taken once, at its end, and not at all when it is not sampled', () => {
  const taken: Span[] = []
  const span = new Tracer(1, (ended) => taken.push(ended)).start('s', 'client', undefined)
  span.end('broken')
  span.end()
  new Tracer(0, (ended) => taken.push(ended)).start('s', 'client', undefined).end()
  assert.deepEqual(taken, [span])
  assert.equal(span.error, 'broken')
  assert.ok(span.ended >= span.began)
})

test('no exporter and no rate: nobody traces; a rate alone makes identifiers; a rate of 0 turns all off', async () => {
  assert.equal(await openTracing({ ...base, samplingRate: undefined }), undefined)
  assert.equal(await openTracing({ ...base, samplingRate: '0', stdout: true }), undefined)
  assert.notEqual(await openTracing(base), undefined)
  await assert.rejects(
    openTracing({ ...base, otel: { endpointAddress: 'x:1', protocol: 'udp', isSecure: false, headers: [] } }),
    /udp.*http or grpc/,
  )
})

test('spans go to standard output as Dapr writes them', async () => {
  const tracing = await openTracing({ ...base, stdout: true })
  tracing?.tracer.start('/v1.0/state/s', 'client', parseTraceparent(PARENT)).end()
  await tracing?.[Symbol.asyncDispose]()
  const line = lines.find((text) => text.includes('dapr.runtime.trace')) ?? ''
  assert.match(line, new RegExp(`\\[/v1.0/state/s\\] Trace: ${TRACE} Span: 00f067aa0ba902b7/[0-9a-f]{16} Time: \\[`))
})

test('Zipkin gets spans as its JSON; a collector that refuses them is told of', async (t) => {
  const got: unknown[] = []
  let status = 202
  const server = createServer((request, response) => {
    let text = ''
    request.on('data', (part: Buffer) => (text += part.toString()))
    request.on('end', () => {
      got.push(JSON.parse(text))
      response.writeHead(status).end()
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => server.close())
  const endpointAddress = `http://127.0.0.1:${(server.address() as { port: number }).port}/api/v2/spans`
  const trace = async () => {
    const tracing = await openTracing({ ...base, zipkin: { endpointAddress }, env: { OTEL_SERVICE_NAME: 'named' } })
    const span = tracing?.tracer.start('pubsub/orders', 'client', parseTraceparent(PARENT)) as Span
    span.attributes['messaging.system'] = 'pubsub'
    span.end('Code(500)')
    await tracing?.[Symbol.asyncDispose]()
    return span
  }
  const span = await trace()
  const [[sent]] = got as [[Record<string, unknown>]]
  assert.equal(sent.traceId, TRACE)
  assert.equal(sent.id, span.context.spanId)
  assert.equal(sent.parentId, '00f067aa0ba902b7')
  assert.equal(sent.kind, 'CLIENT')
  assert.deepEqual(sent.localEndpoint, { serviceName: 'named' })
  assert.equal(sent.name, 'pubsub/orders')
  assert.equal(sent.remoteEndpoint, undefined)
  assert.deepEqual(sent.tags, {
    'messaging.system': 'pubsub',
    'otel.scope.name': 'dapr-diagnostics',
    'otel.status_code': 'ERROR',
    'service.name': 'named',
    error: 'Code(500)',
  })
  assert.ok(Number.isInteger(sent.timestamp) && Number.isInteger(sent.duration))
  status = 503
  await trace()
  assert.ok(lines.some((line) => line.includes('1 spans could not be exported') && line.includes('answered 503')))
})

test('baggage is checked as W3C writes it', () => {
  for (const good of ['', 'a=1', 'a=1,b=2', 'a = 1 , b=%20x;prop;p=2', 'userId=alice;ttl=5'])
    assert.equal(baggageProblem(good), undefined, good)
  for (const bad of ['invalid-baggage', 'a=1,', '=1', 'a=b c', 'a=%zz', 'a="x"', 'a=1;b c', 'x='.padEnd(9000, 'y')])
    assert.notEqual(baggageProblem(bad), undefined, bad.slice(0, 20))
})
